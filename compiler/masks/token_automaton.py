"""A text automaton over one vocabulary: exact token masks, one table lookup per token.

How tokens count. Every token that is produced counts one, an overrun last token included; end-of-text and a discarded token of the
following literal count nothing. A text is judged with the tokens that reach into it, so tokens wholly inside a removed stop phrase
do not count for `len(TOKENS(X))`, while all tokens produced count for `max_tokens`.

A state is `(q, count, room, written)`: the automaton's state at a token boundary, the tokens so far (no further than they matter),
the code points left of the text's limit (0 without one; negative within a stop phrase that will be removed), and the tokens written
where a stop's cut, or what is remembered beside the automaton (`memory.py`), depends on them. An ended text is
`(ENDED, cut, followed, None)`, with 1 where the text that follows ended it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.problems import TOO_LARGE, error
from lmqlc.compiler.masks.canonical import Encode, Writing, certain
from lmqlc.compiler.masks.core import Core, agrees, core_of
from lmqlc.compiler.masks.counters import FOREVER, Horizon
from lmqlc.compiler.masks.cuts import Written, fixed_cut, removed_bytes, special_ends
from lmqlc.compiler.masks.first_token import value_behind, values_behind
from lmqlc.compiler.masks.forced import Walk
from lmqlc.compiler.masks.forms import Mask
from lmqlc.compiler.masks.heal import begins_longer
from lmqlc.compiler.masks.interface import NOTHING, Before, Bits, Ids
from lmqlc.compiler.masks.spaces import begins_with_space
from lmqlc.compiler.masks.trie import DEPTH
from lmqlc.grammar.errors import UnsatisfiableConstraint

if TYPE_CHECKING:
    from lmqlc.compiler.masks.closing import Closing

State = tuple[int, int, int, Written | None]
ENDED = -1
_STATE_BYTES = 256  # of a remembered state, about
_LONG = 256
"""Bytes of a forced text that is written without knowing what else would fit in the budget."""
_WRITTEN = 256
"""Forced texts whose ids are remembered."""
_REMEMBERED = 1 << 16
"""Masks remembered by exact state; past this, the memory is cleared and filled again by what matters of a state."""


class TokenAutomaton:
    """A `TokenConstraint` that is exactly right. Made by `link`."""

    exact = True

    def __init__(
        self, core: Core, *, max_tokens: int | None, follow: str, encode: Encode | None, ends: frozenset[int] = frozenset()
    ) -> None:
        """ends: special tokens that end the text as end-of-text does."""
        self.core = core
        self.vocabulary = core.vocabulary
        self.max_tokens = max_tokens
        self.follow = follow
        self._encode = encode
        self._ends = ends
        self._width = len(core.vocabulary)
        self._states = core.steps.states
        self._horizon = Horizon(core.steps, core.costs, max_tokens)
        self._masks = core.masks(follow, ends)
        self._eos = ends.union(core.eos.tolist())
        self._cut = fixed_cut(core.automaton.phrases)
        self._keeps = self._cut is None  # the tokens written stay in the state
        self._removes = any(not phrase.keep for phrase in core.automaton.phrases)
        self._spaces = core.automaton.spaces_end
        self._limit = core.automaton.char_limit or 0
        self._whole: TokenAutomaton | None = None  # without the budget
        self._seen: dict[State, Bits] = {}
        self._paths: dict[tuple[State, bytes], State] = {}  # of forced texts, within the budget

    @property
    def nbytes(self) -> int:
        """Bytes that are held now, about; most of them are its core's, which others may share."""
        return self.core.nbytes + _STATE_BYTES * len(self._seen)

    @property
    def longest(self) -> int | None:
        """The most tokens that a text may take, whatever the budget; see `TokenConstraint`."""
        return self.core.longest

    def within(self, max_tokens: int | None) -> TokenAutomaton:
        """The same constraint under another budget; this very one where the budget cannot be reached."""
        longest = self.core.longest
        if max_tokens is None or (longest is not None and longest <= max_tokens):
            max_tokens = None
        if max_tokens == self.max_tokens:
            return self
        if max_tokens is None and self._whole is not None:
            return self._whole
        other = type(self)(self.core, max_tokens=max_tokens, follow=self.follow, encode=self._encode, ends=self._ends)
        if max_tokens is None:
            self._whole = other
        elif self.max_tokens is None:
            other._whole = self
        return other

    @property
    def encode(self) -> Encode | None:
        """Text to token ids, as the model's tokenizer writes it in the middle of a text; None where that is not known."""
        return self._encode

    def start(self) -> State:
        """The state of the empty text."""
        automaton = self.core.automaton
        if automaton.stops[self.core.steps.region(0), automaton.start]:
            return (ENDED, 0, 0, None)
        return (automaton.start, 0, self._limit, None)

    def satisfiable(self, before: bytes = b"") -> bool:
        """Whether some tokens within the budget make a valid text; see `TokenConstraint`."""
        state = q, count, room, _ = self.start()
        if self._forced_text_fits(state):
            return True
        finish = self._horizon.now(count)
        begins = q == ENDED or (finish is not None and int(finish[q]) <= room)
        return begins or begins_longer(self.vocabulary, self, state, before)

    def _forced_text_fits(self, state: State) -> bool:
        """Whether a long text without a choice, as the tokenizer writes it, and the nearest end behind it byte by byte, fit in the budget:
        where they do, nothing else needs to be known of all its states."""
        q, count, room, _ = state
        by_bytes = self.core.costs.bytes_needed
        if self.max_tokens is None or by_bytes is None or by_bytes <= self.max_tokens or self._encode is None or q == ENDED:
            return False
        walk = self.core.forced.after(q, room)
        ids = self._certain(Writing(self._encode, self.vocabulary, NOTHING), walk, None)
        rest = 0 if walk.q >= self._states else int(self.core.costs.by_bytes[1][walk.q])
        return bool(ids) and count + len(ids) + rest <= self.max_tokens

    def require(self, before: bytes = b"") -> Self:
        """The automaton itself. Raises UnsatisfiableConstraint where no tokens within its budget make a valid text."""
        if self.satisfiable(before):
            self._horizon.moment(0, self.core.automaton.start)  # found now, so that no mask waits for it
        else:
            self._require_certain()
            bound = "" if self.max_tokens is None else f" of at most {self.max_tokens} tokens"
            raise UnsatisfiableConstraint(f"no text{bound} meets the constraint with this model's vocabulary")
        return self

    def _require_certain(self) -> None:
        """Raise LmqlCompileError where a text might fit the budget, although spelled byte by byte it does not."""
        costs, start = self.core.costs, self.core.automaton.start
        if self.max_tokens is None or not costs.rough:
            return
        chars, count = costs.by_bytes
        if chars[start] < FOREVER and count[start] <= self.max_tokens * self.core.index.max_bytes:
            hint = f"allow {count[start]:,} tokens or more, or make the constraint smaller"
            message = f"the constraint is too large to tell whether one of its texts fits into {self.max_tokens:,} tokens"
            raise error(TOO_LARGE, message, None, hint)

    def mask(self, state: Any) -> Bits:
        """The allowed tokens of a state; see `TokenConstraint`."""
        bits = self._seen.get(state)
        return self.form(state).bits if bits is None else bits

    def form(self, state: Any) -> Mask:
        """The mask of a state with its other forms."""
        mask = self._choice(cast(State, state))[0]
        if state[3] is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen[state] = mask.bits
        return mask

    def _choice(self, state: State) -> tuple[Mask, bool]:
        """The mask of a state, and whether the text can go on."""
        q, count, room, _ = state
        if q == ENDED:
            return self._masks.nothing, False
        moment = self._horizon.moment(count, q)
        final = self._final(q, moment.region, room)
        return self._masks.get(q, room, moment, 2 if final and self._ends_by_space(state) else int(final))

    def _ends_by_space(self, state: State) -> bool:
        """White space ends the text, which is valid."""
        q, count, _, _ = state
        return self._spaces and self._horizon.moment(count, q).finish is not None and self._closing.ends_by_space(*state)

    def ends_by_space(self, state: Any) -> bool:
        """Whether a text is valid, and a token that begins with white space and meets no stop ends it."""
        return self.is_final(state) and state[0] != ENDED and self._ends_by_space(state)

    def _final(self, q: int, region: int, room: int) -> bool:
        return room >= 0 and bool(self.core.automaton.accepts[region, q])

    def advance(self, state: Any, token_id: int) -> State | None:
        """The state after a token, None where it is not allowed."""
        q, count, room, _ = cast(State, state)
        if q == ENDED or not 0 <= token_id < self._width:
            return None
        token = self.vocabulary.tokens[token_id]
        known = self._on_path(state, token) if self.max_tokens is not None else None
        if known is not None:
            return known
        moment = self._horizon.moment(count, q)
        if moment.finish is not None and token:
            block = self.core.classes.built(q)
            if block is None:  # nothing was asked about this part of the automaton: the token is read by itself
                value, chars = value_behind(self.core.steps, (q, moment.pair), token), self._chars(token)
            else:
                kind = block.token_classes[token_id]
                value = block.values[(moment.pair * block.states + q - block.first) * block.classes + kind]
                chars = block.token_chars[kind]
            if moment.costs[value] + chars <= room:
                ends = self._spaces and value < self._states and begins_with_space(token) and self.ends_by_space(state)
                if not ends:
                    return self._led_to(state, value, token, token_id)
        return self._end(cast(State, state), moment.region, token_id)

    def _chars(self, data: bytes) -> int:
        """Code points that some bytes begin; 0 where they are not counted."""
        return sum(byte & 0xC0 != 0x80 for byte in data) if self.core.steps.counts_chars else 0

    def leads_to(self, state: Any, states: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
        """The tokens bool[V] in which a stop ends the text, or that lead to one of some states bool[S]; None where there is none."""
        q, count, _, _ = cast(State, state)
        if q == ENDED:
            return None
        moment, block = self._horizon.moment(count, q), self.core.classes.block(q)
        first = (moment.pair * block.states + q - block.first) * block.classes
        values = np.asarray(block.values[first : first + block.classes], np.int64)
        found = (values >= self._states) | states[np.minimum(values, self._states - 1)]
        return found[np.asarray(block.token_classes, np.int64)] if found.any() else None

    def _end(self, state: State, region: int, token_id: int) -> State | None:
        """The state after a token that ends the text without adding to it."""
        q, _, room, _ = state
        if not self._final(q, region, room):
            return None
        if token_id in self._eos:
            return (ENDED, 0, 0, None)
        token = self.vocabulary.tokens[token_id]
        if token_id in self._masks.follow:
            return (ENDED, len(token), 1, None)
        if self._spaces and self.core.index.usable[token_id] and begins_with_space(token) and self._ends_by_space(state):
            return (ENDED, len(token), 0, None)
        return None

    def enter(self, state: Any, token_id: int, skip: int) -> State | None:
        """The state after a first token of which only the bytes behind the first `skip` are read, None where it is not allowed."""
        q, count, room, _ = cast(State, state)
        text = self.vocabulary.tokens[token_id][skip:]
        after = self.read(state, text)
        if q == ENDED or not text or (after is not None and after[0] == ENDED):
            return after
        if self._spaces and begins_with_space(text) and self.ends_by_space(state):
            return (ENDED, len(text), 0, None)
        if after is None and agrees(text, self.follow.encode()) and self._final(q, self.core.steps.region(count), room):
            return (ENDED, len(text), 1, None)
        return after

    def read(self, state: Any, text: bytes) -> State | None:
        """The state after some bytes, read as one token; None where no legal text goes on with them."""
        q, count, room, _ = cast(State, state)
        if q == ENDED or not text:
            return None
        known = self._on_path(state, text) if self.max_tokens is not None else None
        if known is not None:
            return known
        moment = self._horizon.moment(count, q)
        if moment.finish is None:
            return None
        value = value_behind(self.core.steps, (q, moment.pair), text)
        return self._led_to(state, value, text) if moment.costs[value] + self._chars(text) <= room else None

    def entering(self, state: Any, ids: Ids, skip: int) -> Ids:
        """Those of some tokens, all longer than `skip` bytes and alike in them, that `enter` takes."""
        q, count, room, _ = cast(State, state)
        if q == ENDED or not len(ids):
            return ids[:0]
        moment, steps, index = self._horizon.moment(count, q), self.core.steps, self.core.index
        allowed = np.zeros(len(ids), np.bool_)
        if moment.finish is not None:
            values = values_behind(steps, self.vocabulary, index, (q, moment.pair), ids, skip)
            before = sum(byte & 0xC0 != 0x80 for byte in self.vocabulary.tokens[int(ids[0])][:skip])
            chars = index.chars[ids] - before if steps.counts_chars else 0
            allowed = moment.finish[values] + chars <= room
        if self.follow and self._final(q, moment.region, room):
            literal, tokens = self.follow.encode(), self.vocabulary.tokens
            allowed |= [agrees(tokens[token_id][skip:], literal) for token_id in ids.tolist()]
        if self._spaces and self.ends_by_space(state):
            allowed |= [begins_with_space(self.vocabulary.tokens[token_id][skip:]) for token_id in ids.tolist()]
        return ids[allowed]

    def enters(self, state: Any, ids: Ids, skip: int) -> bool:
        """Whether `entering` gives any."""
        return len(self.entering(state, ids, skip)) > 0

    def _stop(self, q: int, count: int, written: Written | None, token: bytes) -> State:
        """The state after a token, of which these bytes are read, in which a stop is reached."""
        steps = self.core.steps
        overrun = len(token) - steps.bytes_to_stop(q, token, steps.pair(count))
        if self._cut is not None:
            return (ENDED, overrun + self._cut, 0, None)
        assert written is not None
        removed = removed_bytes(self.core.automaton, written.texts(self.vocabulary), overrun)
        return (ENDED, overrun + removed, 0, None)

    def is_final(self, state: Any) -> bool:
        """Whether the text so far (after the cut, where it has ended) is valid."""
        q, count, room, _ = cast(State, state)
        return q == ENDED or self._final(q, self.core.steps.region(count), room)

    def is_closed(self, state: Any) -> bool:
        """Whether the text is valid and no continuation gives another: none is allowed, or only a stop that is removed can follow."""
        if not self.is_final(state):
            return False
        q, count, room, written = cast(State, state)
        if not self._choice((q, count, room, written))[1]:
            return True
        return (self._removes or self._spaces) and self._closing.closed(q, count, room, written)

    @cached_property
    def _closing(self) -> Closing:
        from lmqlc.compiler.masks.closing import Closing

        whole = self.within(None)
        return Closing(self.core, self.max_tokens, spaces=self._spaces, whole=None if whole is self else whole._closing)

    def stopped(self, state: Any) -> int | None:
        """None while decoding goes on, else the bytes to cut from the end of what was written."""
        q, cut, _, _ = cast(State, state)
        return cut if q == ENDED else None

    def followed(self, state: Any) -> bool:
        """Whether a token of the text that follows has ended the text."""
        q, _, followed, _ = cast(State, state)
        return q == ENDED and bool(followed)

    def undecided(self, state: Any) -> bool:
        """Never: an automaton knows."""
        return False

    def forced(self, state: Any, before: Before = NOTHING) -> list[int]:
        """The tokens that are certain; none where a count of tokens, or the budget, makes it matter which they are."""
        q, count, room, written = cast(State, state)
        if q == ENDED or self._encode is None or count < self._horizon.settled or not self.core.forced.begins(q, room):
            return []
        walk = self.core.forced.after(q, room)
        written = Written(written, walk.data) if self._keeps and walk.data else None
        whole = walk.q >= self._states or self.is_closed((walk.q, count, walk.room, written))
        least = len(walk.data) // max(self.core.index.max_bytes, 1)
        if not walk.data or not (whole or self._horizon.indifferent(count + least, walk.q)):
            return []
        after = None if whole else _After(self, walk.q, walk.room)
        writing = Writing(self._encode, self.vocabulary, before)
        if not whole and not self._horizon.indifferent(count + len(self._certain(writing, walk, None)), walk.q):
            return []
        ids = self._certain(writing, walk, after)
        return ids if self._can_write(cast(State, state), ids, before) else []

    def _certain(self, writing: Writing, walk: Walk, after: _After | None) -> list[int]:
        """The ids with which every legal text that begins with a forced one begins; all of its ids where nothing comes after."""
        key = (self._encode, writing.before, walk, after and after.follow, after is None)
        known = self.core.written.get(key)
        if known is None:
            ids = writing.ids(walk.data) or []
            known = ids if after is None else ids[: certain(writing, walk.data, ids, after)]
            self.core.written[key] = known
            while len(self.core.written) > _WRITTEN:
                self.core.written.popitem(last=False)
        return list(known)

    def _can_write(self, state: State, ids: list[int], before: Before) -> bool:
        """Whether some tokens of a forced text may be written one after the other; what they lead to is remembered."""
        steps, at = self.core.steps, state
        path: list[tuple[tuple[State, bytes], State]] = []
        for place, token_id in enumerate(ids):
            text = self.vocabulary.tokens[token_id][len(before.text) if before.healed and not place else 0 :]
            q, count, room, written = at
            if not text:
                continue  # only the prompt's end is put back
            if q == ENDED or (self.max_tokens is not None and count >= self.max_tokens):
                return False
            after = self._led_to((q, count, room, written), value_behind(steps, (q, steps.pair(count)), text), text)
            path.append(((at, text), after))
            at = after
        if self.max_tokens is not None and self.core.costs.bytes_needed is not None:
            if len(self._paths) > _REMEMBERED:
                self._paths.clear()
            self._paths.update(path)
        return True

    def _on_path(self, state: State, text: bytes) -> State | None:
        """The state after a token of a long forced text, where the budget matters: what else fits need not be known there."""
        found = self._paths.get((state, text))
        if found is None and self._horizon.binds(state[1], state[0]) and len(self.core.forced.after(state[0], state[2]).data) > _LONG:
            self.forced(state)
            found = self._paths.get((state, text))
        return found

    def _led_to(self, state: State, value: int, text: bytes, token_id: int | None = None) -> State:
        """The state to which a token leads whose bytes lead to a value. token_id: where they are all of it."""
        q, count, room, written = state
        if self._keeps:
            written = Written(written, text if token_id is None else token_id)
        if value >= self._states:
            return self._stop(q, count, written, text)
        return (value, min(count + 1, self._horizon.last), room - self._chars(text), written)


class _After:
    """What may come after a forced text, in the last region of token counts, without a budget."""

    def __init__(self, automaton: TokenAutomaton, q: int, room: int) -> None:
        self._core = automaton.core
        self._vocabulary = automaton.vocabulary
        steps = self._core.steps
        self._place = (q, 2 * (len(steps.bounds) - 1) if steps.pairs > 1 else 0)
        self._room = room
        self._finish = self._core.costs.by_bytes[0]
        self.follow = automaton.follow if room >= 0 and self._core.automaton.accepts[-1, q] else ""

    def goes_on(self, data: bytes) -> bool:
        steps = self._core.steps
        chars = sum(byte & 0xC0 != 0x80 for byte in data) if steps.counts_chars else 0
        return bool(self._finish[value_behind(steps, self._place, data)] + chars <= self._room)

    def takes(self, ids: Ids, skip: int) -> bool:
        steps, index, tokens = self._core.steps, self._core.index, self._vocabulary.tokens
        if skip >= DEPTH:
            return any(self.goes_on(tokens[token_id][skip:]) for token_id in ids.tolist())
        values = values_behind(steps, self._vocabulary, index, self._place, ids, skip)
        before = sum(byte & 0xC0 != 0x80 for byte in tokens[int(ids[0])][:skip])
        chars = index.chars[ids] - before if steps.counts_chars else 0
        return bool((self._finish[values] + chars <= self._room).any())


def link(
    automaton: TextAutomaton,
    vocabulary: Vocabulary,
    *,
    max_tokens: int | None = None,
    follow: str | None = None,
    encode: Encode | None = None,
) -> TokenAutomaton:
    """The automaton over a vocabulary.

    max_tokens: the most tokens that the text may take, end-of-text not counted. follow: the literal after the hole. encode: text to token
    ids as the model's tokenizer does it in the middle of a text; without it `forced` is always empty.
    Raises UnsatisfiableConstraint where no tokens of the vocabulary, within `max_tokens`, make a valid text.
    """
    return finished(core_of(automaton, vocabulary), max_tokens=max_tokens, follow=follow, encode=encode, named=vocabulary.named).require()


def finished(
    core: Core, *, max_tokens: int | None, follow: str | None, encode: Encode | None, named: Mapping[str, int] | None = None
) -> TokenAutomaton:
    """The automaton of one hole on a core, whether any text meets it or not (`require` says); arguments as for `link`. named:
    `Vocabulary.named`, where a core may be shared by vocabularies that differ in it."""
    ends = special_ends(core.automaton.phrases, core.vocabulary.named if named is None else named)
    linked = _kind(core)(core, max_tokens=max_tokens, follow=follow or "", encode=encode, ends=ends)
    core.classes.block(core.automaton.start)  # found now, so that no mask waits for it
    return linked


def _kind(core: Core) -> type[TokenAutomaton]:
    """The class of an automaton's masks."""
    if not core.automaton.memory:
        return TokenAutomaton
    from lmqlc.compiler.masks.memory import Remembering

    return Remembering

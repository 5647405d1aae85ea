"""Masks with a memory beside the automaton: keys and items that were written, long lengths (`automata/remembered.py`).

A state keeps the tokens written; what they leave to be remembered is followed by scans, and kept for the states used last. A token is
allowed where the automaton allows it and no rule is broken after it. Most tokens can break none, so only those are asked about that
complete a key or item which was seen, hold a second one, or come near to a length.

Near the end of a budget, a token that leaves a key or item open, or calls for one more, is allowed only where a way to the end is found
that repeats none. That is sound; a way that takes more than `MOST_STEPS` to find is not found.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.remembered import Frame, Scan
from lmqlc.compiler.masks.canonical import Encode
from lmqlc.compiler.masks.core import Core
from lmqlc.compiler.masks.cuts import Written
from lmqlc.compiler.masks.forms import pack, unpack
from lmqlc.compiler.masks.heal import begins_longer
from lmqlc.compiler.masks.interface import Bits, Ids
from lmqlc.compiler.masks.token_automaton import ENDED, State, TokenAutomaton
from lmqlc.compiler.masks.trie import vocabulary_index

KEPT = 1 << 12
"""States whose scans, and masks, are remembered, least recently used out first."""
MOST_STEPS = 200
"""Tokens tried to find a way to the end of a text within its budget."""

VOCABULARIES = 8

Scans = tuple[Scan, ...]


class TokenParts:
    """Which tokens of a vocabulary hold some bytes; found once for every vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokens, self._usable = vocabulary.tokens, vocabulary_index(vocabulary).usable
        self._found: dict[tuple[bytes, int], Bits] = {}
        self.longest = max(map(len, vocabulary.tokens), default=0)

    def holding(self, part: bytes, times: int = 1) -> Bits:
        """Tokens that may stand in a text and hold some bytes at least so often."""
        found = self._found.get((part, times))
        if found is None:
            flags = [part in token and (times == 1 or token.count(part) >= times) for token in self._tokens]
            found = self._found[part, times] = pack(np.array(flags, np.bool_) & self._usable)
        return found


_token_parts: OrderedDict[str, TokenParts] = OrderedDict()


def token_parts(vocabulary: Vocabulary) -> TokenParts:
    """The parts of a vocabulary's tokens, kept for the vocabularies used last."""
    found = _token_parts.get(vocabulary.fingerprint)
    if found is None:
        found = _token_parts[vocabulary.fingerprint] = TokenParts(vocabulary)
        while len(_token_parts) > VOCABULARIES:
            _token_parts.popitem(last=False)
    return found


class Remembering(TokenAutomaton):
    """A `TokenAutomaton` whose automaton has a memory. Made by `link`."""

    def __init__(
        self, core: Core, *, max_tokens: int | None, follow: str, encode: Encode | None, ends: frozenset[int] = frozenset()
    ) -> None:
        super().__init__(core, max_tokens=max_tokens, follow=follow, encode=encode, ends=ends)
        self._keeps = True
        self._first: Scans = tuple(Scan(rule) for rule in core.automaton.memory)
        self._known: OrderedDict[Written | None, Scans] = OrderedDict()
        self._filtered: OrderedDict[State, Bits] = OrderedDict()
        many = [part for rule in core.automaton.memory for part in rule.many()]
        self._tells_apart = any(part.distinct for part in many)
        self._needs_several = any(part.distinct and part.least > 1 for part in many)
        self._counts = any(part.count is not None for part in many)
        bounds = [bound for rule in core.automaton.memory for bound in rule.bounds()]
        self._least_bound = min(bounds, default=1 << 30)
        self._parts = token_parts(core.vocabulary)

    # -- the protocol ---------------------------------------------------------------------------------------------------

    def satisfiable(self, before: bytes = b"") -> bool:
        """Whether some tokens within the budget make a valid text; where several items must differ, a way is looked for."""
        if not super().satisfiable(before):
            return False
        start = self.start()
        found = start[0] == ENDED or not self._needs_several or self._finds_end(start, self._first)
        return found or begins_longer(self.vocabulary, self, start, before)

    def mask(self, state: Any) -> Bits:
        """The allowed tokens of a state; see `TokenConstraint`."""
        q, count, room, _ = cast(State, state)
        bits = super().mask((q, count, room, None))
        if q == ENDED:
            return bits
        found = self._filtered.get(state)
        if found is None:
            found = self._filtered[state] = self._filter(state, bits)
            if len(self._filtered) > KEPT:
                self._filtered.popitem(last=False)
        return found

    def advance(self, state: Any, token_id: int) -> State | None:
        """The state after a token, None where it is not allowed."""
        q, count, _, written = cast(State, state)
        if q == ENDED or not 0 <= token_id < self._width:
            return None
        scans = self._after(self._scans(written), self.vocabulary.tokens[token_id])
        after = None if scans is None else super().advance(state, token_id)
        if after is None or scans is None:
            return self._end(cast(State, state), self.core.steps.region(count), token_id)
        return self._kept(after, scans)

    def read(self, state: Any, text: bytes) -> State | None:
        """The state after some bytes, read as one token; None where no legal text goes on with them."""
        scans = self._after(self._scans(cast(State, state)[3]), text)
        after = None if scans is None else super().read(state, text)
        return None if after is None or scans is None else self._kept(after, scans)

    def entering(self, state: Any, ids: Ids, skip: int) -> Ids:
        """Those of some tokens, all longer than `skip` bytes and alike in them, that `enter` takes."""
        found = super().entering(state, ids, skip)
        tokens, near = self.vocabulary.tokens, self._is_near(cast(State, state))
        asked = [(self._tells_apart and near) or b", " in tokens[i] or len(tokens[i]) > self._least_bound for i in found.tolist()]
        kept = [not ask or self.enter(state, i, skip) is not None for i, ask in zip(found.tolist(), asked, strict=True)]
        return found[np.array(kept, np.bool_)]

    def is_closed(self, state: Any) -> bool:
        """Whether the text is valid and no continuation gives another."""
        q, count, room, written = cast(State, state)
        if not self.is_final(state) or self._scans(written) is None or super().is_closed(state):
            return self.is_final(state) and self._scans(written) is not None
        bits = self.mask(state)
        if bits is super().mask((q, count, room, None)):
            return False
        ids = np.flatnonzero(unpack(bits & self._text_tokens, self._width)).tolist()
        return not any(after is not None and after[0] != ENDED for after in (self.advance(state, i) for i in ids))

    # -- what is remembered ----------------------------------------------------------------------------------------------

    def _scans(self, written: Written | None) -> Scans | None:
        """What is remembered of the tokens written; None where they break a rule."""
        behind: list[Written] = []
        at, scans = written, self._first
        while at is not None:
            known = self._known.get(at)
            if known is not None:
                scans = known
                break
            behind.append(at)
            at = at.before
        for part in reversed(behind):
            after = self._after(scans, part.token if isinstance(part.token, bytes) else self.vocabulary.tokens[part.token])
            if after is None:
                return None
            scans = after
            self._remember(part, scans)
        return scans

    def _after(self, scans: Scans | None, text: bytes) -> Scans | None:
        found = []
        for scan in scans or ():
            after = scan.after(text)
            if after is None:
                return None
            found.append(after)
        return None if scans is None else tuple(found)

    def _remember(self, written: Written | None, scans: Scans) -> None:
        self._known[written] = scans
        if len(self._known) > KEPT:
            self._known.popitem(last=False)

    def _kept(self, after: State, scans: Scans) -> State | None:
        """A state that was reached, where its text can still end; its scans are remembered."""
        if after[0] == ENDED:
            return after
        if any(scan.repeats() for scan in scans) and not self._goes_on(after[0]):
            return None
        if self._is_near(after) and self._is_at_risk(scans) and not self._finds_end(after, scans):
            return None
        self._remember(after[3], scans)
        return after

    def _goes_on(self, q: int) -> bool:
        """A number that repeats an item can become another one."""
        automaton = self.core.automaton
        return bool(automaton.delta[:, q, automaton.byte_class[list(b"0123456789.eE")]].any())

    # -- masks ----------------------------------------------------------------------------------------------------------

    def _filter(self, state: State, bits: Bits) -> Bits:
        """A mask without the tokens that break a rule."""
        scans = self._scans(state[3])
        if scans is None:
            return self._nothing
        if not self._tells_apart and not self._counts and all(scan.left is None or scan.left >= self._longest_token for scan in scans):
            return bits
        suspects = self._suspects(scans, self._is_near(state))
        ids = {*np.flatnonzero(unpack(bits if suspects is None else bits & suspects, self._width)).tolist()}
        ids.update(i for scan in scans for i in self._completing(scan) if bits[i >> 5] >> np.uint32(i & 31) & 1)
        lost = [i for i in ids if self.advance(state, i) is None]
        if not lost:
            return bits
        flags = unpack(bits, self._width)
        flags[lost] = False
        found = pack(flags)
        found.flags.writeable = False
        return found

    def _suspects(self, scans: Scans, near: bool) -> Bits | None:
        """Tokens that may break a rule here, besides those that complete something that was seen; None for all."""
        found = self._doubled | self._quoted if self._tells_apart else self._doubled
        if near and self._tells_apart:
            if self._needs_several:
                return None
            found = found | self._with(b",") | self._with(b"{") | self._with(b"[")
        for scan in scans:
            for at, frame in enumerate(scan.stack):
                extra = self._suspects_in(scan, frame, at == len(scan.stack) - 1)
                if extra is None:
                    return None
                found = found | extra
            if scan.left is not None and scan.left < self.core.index.max_chars:
                found = found | pack(self.core.index.chars > scan.left)
        return found

    def _suspects_in(self, scan: Scan, frame: Frame, is_top: bool) -> Bits | None:
        """Tokens that may break a rule of one open array or object; None for all."""
        rule, found = frame.rule, self._nothing
        if rule is None:
            return found
        if rule.count is not None and rule.count - frame.count <= self._longest_token:
            found = found | self._with(b",")
        if not rule.distinct:
            return found
        if rule.few is not None:
            found = found | self._with(b",")
            if is_top and (scan.in_key or scan.mode == "key" or (not frame.is_object and scan.mode == "value")):
                return None
        if not frame.is_object:
            found = found | self._with(b",") | self._with(b"]")
            if is_top and scan.mode in ("number", "word"):
                return None
            if is_top and rule.distinct != "text":
                found = found | self._with(b'"')
        return found

    def _completing(self, scan: Scan) -> Iterator[int]:
        """Tokens that complete the open key or item so that it is one that was seen, and those on the way there."""
        frame = scan.stack[-1] if scan.stack else None
        if frame is None or frame.rule is None or frame.rule.distinct != "text" or frame.part is None or scan.mode == "number":
            return
        tokens, order = self.vocabulary.tokens, self.core.index.by_bytes
        for seen in frame.seen:
            whole = str(seen).encode("utf-8", "surrogatepass") + (b'"' if frame.is_object else b"")
            if not whole.startswith(frame.part):
                continue
            rest = whole[len(frame.part) :]
            for length in range(1, len(rest) + 1):
                part = rest[:length]
                low = bisect_left(order, part, key=tokens.__getitem__)
                if length < len(rest):
                    yield from order[low : bisect_right(order, part, low, key=tokens.__getitem__)]
                else:
                    yield from order[low : bisect_right(order, part, low, key=lambda token: tokens[token][: len(rest)])]

    @cached_property
    def _nothing(self) -> Bits:
        return pack(np.zeros(self._width, np.bool_))

    @cached_property
    def _text_tokens(self) -> Bits:
        return pack(self.core.index.usable)

    @property
    def _longest_token(self) -> int:
        return self._parts.longest

    @cached_property
    def _doubled(self) -> Bits:
        """Tokens that may hold two items, or are longer than the least bound."""
        return self._with(b", ") | pack(self.core.index.chars > self._least_bound)

    @property
    def _quoted(self) -> Bits:
        """Tokens that may hold a whole string."""
        return self._parts.holding(b'"', 2)

    def _with(self, part: bytes) -> Bits:
        """Tokens that hold some bytes."""
        return self._parts.holding(part)

    # -- budgets --------------------------------------------------------------------------------------------------------

    def _is_near(self, state: State) -> bool:
        """The budget is so near that not every way to the end fits into it."""
        q, count, _, _ = state
        return self.max_tokens is not None and not self._horizon.indifferent(count, q)

    def _is_at_risk(self, scans: Scans) -> bool:
        """A way to the end may have to repeat a key or item: one that was seen goes on from what is open, or more are called for."""
        return self._tells_apart and (self._needs_several or any(_may_repeat(scan) for scan in scans))

    def _finds_end(self, state: State, scans: Scans) -> bool:
        """Whether a way to a valid text is found within the budget."""
        self._tries = MOST_STEPS
        return self._search(state, scans)

    def _search(self, state: State, scans: Scans) -> bool:
        if state[0] == ENDED or self.is_final(state):
            return True
        width = 2 + max((len(frame.seen) for scan in scans for frame in scan.stack), default=0)
        for token_id in self._cheapest(state, width):
            self._tries -= 1
            if self._tries < 0:
                return False
            after = self._after(scans, self.vocabulary.tokens[token_id])
            then = None if after is None else super().advance(state, token_id)
            if then is None or after is None or (any(scan.repeats() for scan in after) and not self._goes_on(then[0])):
                continue
            if self._search(then, after):
                return True
        return False

    def _cheapest(self, state: State, width: int) -> Iterator[int]:
        """Tokens with which a text can end soonest: up to `width` of every class."""
        q, count, room, _ = state
        moment, block = self._horizon.moment(count, q), self.core.classes.block(q)
        if moment.finish is None:
            return
        first = (moment.pair * block.states + q - block.first) * block.classes
        values = np.asarray(block.values[first : first + block.classes], np.int64)
        costs = moment.finish[values] + block.chars
        for kind in np.argsort(costs, kind="stable").tolist():
            if costs[kind] > room:
                return
            yield from self._members(block.first, kind)[:width]

    def _members(self, block: int, kind: int) -> list[int]:
        found = self._classes.get((block, kind))
        if found is None:
            classes: npt.NDArray[np.int64] = np.asarray(self.core.classes.block(block).token_classes, np.int64)
            usable = np.flatnonzero((classes == kind) & self.core.index.usable)
            found = self._classes[block, kind] = usable[:64].tolist()
        return found

    @cached_property
    def _classes(self) -> dict[tuple[int, int], list[int]]:
        return {}


def _may_repeat(scan: Scan) -> bool:
    """An open key or item is the beginning of one that was seen, or another one must come."""
    for at, frame in enumerate(scan.stack):
        rule = frame.rule
        if rule is None or not rule.distinct or not frame.seen:
            continue
        if frame.part is None:
            if at == len(scan.stack) - 1 and scan.mode in ("key", "value"):
                return True
        elif rule.distinct != "text" or any(str(seen).encode("utf-8", "surrogatepass").startswith(frame.part) for seen in frame.seen):
            return True
    return False

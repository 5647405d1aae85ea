"""Any Boolean combination of regular atoms with grammars, schemas and Python functions, as one constraint on tokens.

A state follows all residues of the formula (see `residues`) side by side. A token is allowed if some residue is live after it and the
external atoms that this residue needs are alive; a text is valid if the residue of its atoms' actual values accepts it. Stops and the
following literal are judged here, with the whole formula: a stop counts at the first place where its phrase ends and the formula holds
(before a removed phrase), so a residue never ends at a stop that the other atoms refuse.

What is exact, and what is not. Every text that ends as valid meets the formula. Residues keep their budgets exactly. External atoms are
checked by prefix: a token may be allowed from which they cannot be met any more, or not within the budget. Where few tokens are allowed,
one token is looked ahead, and those that lead nowhere are refused.
"""

from __future__ import annotations

import copy
import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.automata.problems import unsatisfiable
from lmqlc.compiler.masks.canonical import Writing, certain, numbers_of
from lmqlc.compiler.masks.combine_step import Known, Parts, State, Stepper, dead_end, ended
from lmqlc.compiler.masks.core import agrees, following
from lmqlc.compiler.masks.custom import CustomAtom
from lmqlc.compiler.masks.forced import common_beginning, whole_beginning
from lmqlc.compiler.masks.forms import allows, pack, unpack, words
from lmqlc.compiler.masks.heal import begins_longer
from lmqlc.compiler.masks.interface import NOTHING, Before, Bits, Ids
from lmqlc.compiler.masks.kept import Kept
from lmqlc.compiler.masks.residues import Residue, counts_tokens, within_budget
from lmqlc.compiler.masks.spaces import begins_with_space, space_tokens
from lmqlc.compiler.masks.token_automaton import ENDED
from lmqlc.compiler.masks.trie import vocabulary_index
from lmqlc.grammar.errors import ConstraintViolated

NARROW = 32
"""Up to this many allowed tokens are looked ahead."""
TRIED = 256
"""Tokens tried, while looking ahead, to find one with which a Python function lets the text go on; past that it is taken to be possible."""


class Choice(NamedTuple):
    """Tokens (bits) that one residue and the engines it needs allow, before the Python functions it needs are asked."""

    residue: int
    bits: Bits
    functions: frozenset[int]


REMEMBERED = 64 << 20
"""Bytes of masks and choices that are remembered by state, of all combinations of this process, least recently used out first."""
_ENTRY = 300  # bytes of an entry beside its text and its masks, about
_masks: Kept[Bits] = Kept(REMEMBERED // 2)
_choices: Kept[list[Choice]] = Kept(REMEMBERED // 2)
_numbers = itertools.count()


class Combination:
    """A `TokenConstraint` over regular and external atoms. Made by `compose`."""

    exact = False

    def __init__(self, parts: Parts, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._take(parts)
        self._atoms = parts.atoms
        self._functions = frozenset(i for i in self._stepper.needed if isinstance(parts.atoms[i], CustomAtom))
        self._width = len(vocabulary)
        self._eos = parts.ends.union(vocabulary.eos_ids)
        index = vocabulary_index(vocabulary)
        self._text_tokens = pack(index.usable)
        self._follow = frozenset(following(vocabulary, index, parts.follow.encode()) if parts.follow else ())
        self._whole: Combination | None = None  # without the budget
        self._stoppers: list[int] = []
        self._by_first: dict[int, list[int]] = {}
        if parts.stops:
            self._find_stoppers(index.order.tolist())

    def _take(self, parts: Parts) -> None:
        """Take what depends on the budget."""
        self._parts = parts
        self._stepper = Stepper(parts, self.vocabulary)
        self._residues = parts.residues.residues
        self._number = next(_numbers)

    @property
    def longest(self) -> int | None:
        """The most tokens that a text may take; None where an atom beyond the regular ones, or a stop, decides that."""
        bounds = [residue.tokens.longest for residue in self._residues]
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) and not self._parts.stops else None

    def within(self, max_tokens: int | None) -> Combination:
        """The same constraint under another budget; engines and functions are shared."""
        longest = self.longest
        if max_tokens is None or (longest is not None and longest <= max_tokens):
            max_tokens = None
        if max_tokens == self._parts.max_tokens:
            return self
        if max_tokens is None and self._whole is not None:
            return self._whole
        other = copy.copy(self)
        other._take(replace(self._parts, residues=within_budget(self._parts.residues, max_tokens), max_tokens=max_tokens))
        if max_tokens is None:
            self._whole, other._whole = other, None
        elif self._parts.max_tokens is None:
            other._whole = self
        return other

    def _find_stoppers(self, usable: list[int]) -> None:
        """Tokens that may meet a stop wherever they stand, and all tokens by their first byte."""
        for token_id in usable:
            token = self.vocabulary.tokens[token_id]
            self._by_first.setdefault(token[0], []).append(token_id)
            if self._parts.stops.may_concern(token):
                self._stoppers.append(token_id)

    @property
    def nbytes(self) -> int:
        """Bytes that are held now, about. Masks are not: all combinations share what is remembered of those."""
        return sum(residue.tokens.nbytes for residue in self._residues) + 16 * sum(map(len, self._by_first.values()))

    @property
    def phrases(self) -> tuple[StopPhrase, ...]:
        """The stop phrases of the constraint."""
        return self._parts.phrases

    def start(self) -> State:
        """The state of the empty text."""
        return self._stepper.start()

    def satisfiable(self, before: bytes = b"") -> bool:
        """Some token can come first, or the empty text is valid; False is certain, True is not."""
        start = self.start()
        if not any(state is not None for state in start.tokens):
            return False
        return self._goes_on(start) or begins_longer(self.vocabulary, self, start, before)

    def require(self, before: bytes = b"") -> Self:
        """The constraint itself. Raises UnsatisfiableConstraint where no token can come first."""
        if not self.satisfiable(before):
            bound = "" if self._parts.max_tokens is None else f" of at most {self._parts.max_tokens} tokens"
            message = f"no text{bound} can meet this constraint: nothing can come first"
            raise unsatisfiable(message, self._parts.span, (), None, None)
        return self

    def mask(self, state: Any) -> Bits:
        """The allowed tokens of a state; see `TokenConstraint`."""
        bits = _masks.get((self._number, state))
        if bits is None:
            bits = self._mask(state)
            bits.flags.writeable = False
            _masks.put((self._number, state), bits, _ENTRY + len(state.text) + bits.nbytes)
        return bits

    def advance(self, state: Any, token_id: int) -> State | None:
        """The state after a token, None where it is not allowed."""
        if state.cut is not None or not 0 <= token_id < self._width:
            return None
        if token_id in self._eos:
            return ended(0) if self.is_final(state) else None
        after = self._stepper.after(state, token_id)
        if after is not None and self._is_narrow(state) and not self._goes_on(after):
            after = None
        text = self.vocabulary.tokens[token_id] if allows(self._text_tokens, token_id) else b""
        return self._or_ended(state, after, text, token_id in self._follow)

    def enter(self, state: Any, token_id: int, skip: int) -> State | None:
        """The state after a first token of which only the bytes behind the first `skip` are read, None where it is not allowed."""
        text = self.vocabulary.tokens[token_id][skip:]
        if state.cut is not None or not text:
            return None
        after = self._stepper.after(state, token_id, skip)
        if after is not None and not self._parts.stops and not self._goes_on(after):
            after = None
        return self._or_ended(state, after, text, agrees(text, self._parts.follow.encode()))

    def _or_ended(self, state: State, after: State | None, text: bytes, agrees: bool) -> State | None:
        """The state after a token that writes a text, or the end: where that agrees with the text that follows and is no continuation, for
        all that is known, and where white space ends the text."""
        if (after is not None and after.cut is not None) or not self.is_final(state):
            return after
        if begins_with_space(text) and self._ends_by_space(state):
            return ended(len(text))
        if agrees and (after is None or self._stepper.undecided(after)):
            return ended(len(text), followed=True)
        return after

    def _ends_by_space(self, state: State) -> bool:
        """White space ends a text that is valid."""
        if not self._parts.spaces_end or self._stepper.spent(state):
            return False
        live = [(residue, inner) for residue, inner in zip(self._residues, state.tokens, strict=True) if inner is not None]
        return all(inner[0] == ENDED or residue.closing.ends_by_space(*inner) for residue, inner in live)

    def undecided(self, state: Any) -> bool:
        """See `TokenConstraint`."""
        return self._stepper.undecided(cast(State, state))

    def entering(self, state: Any, ids: Ids, skip: int) -> Ids:
        """Those of some tokens, all longer than `skip` bytes and alike in them, that `enter` takes."""
        return np.array(list(self._entering(state, ids, skip)), np.intp)

    def enters(self, state: Any, ids: Ids, skip: int) -> bool:
        """Whether `entering` gives any."""
        return next(self._entering(state, ids, skip), None) is not None

    def _entering(self, state: State, ids: Ids, skip: int) -> Iterator[int]:
        """Where no stop and no following text could end the text, tokens that go on with a byte after which no text is alive are not asked
        about."""
        tokens, alive = self.vocabulary.tokens, dict[int, bool]()
        prunes = not self._parts.stops and not self._parts.follow and bool(self._atoms)
        for token_id in ids.tolist():
            byte = tokens[token_id][skip]
            if prunes and byte not in alive:
                alive[byte] = self._stepper.may_begin(state, bytes([byte]))
            if alive.get(byte, True) and self.enter(state, token_id, skip) is not None:
                yield token_id

    def is_final(self, state: Any) -> bool:
        """Whether the text so far (after the cut, where it has ended) is valid."""
        return self._stepper.is_final(state)

    def is_closed(self, state: Any) -> bool:
        """Whether the text is valid and no continuation gives another; False where an atom, or a phrase that began before, cannot tell."""
        if not self.is_final(state):
            return False
        if state.cut is not None:
            return True
        if not self._eos and not self.mask(state).any():
            return True  # Nothing could end the text otherwise.
        if self._stepper.removed(state.threads):
            return False
        return all(self._closed_option(state, number, residue) for number, residue in enumerate(self._residues))

    def _closed_option(self, state: State, number: int, residue: Residue) -> bool:
        inner = state.tokens[number]
        if inner is None or residue.tokens.is_closed(inner) or not residue.mask(inner).any():
            return True
        if state.places and dead_end(residue, state.places[number]):
            return True  # what may follow is a stop that is removed
        options = [option for option in residue.options if all(state.alive[i] for i in option)]
        return all(any(self._atoms[i].closed(self._stepper.seen(state.text)) for i in option) for option in options)

    def stopped(self, state: Any) -> int | None:
        """None while decoding goes on, else the bytes to cut from the end of what was written."""
        return cast(State, state).cut

    def followed(self, state: Any) -> bool:
        """Whether a token of the text that follows has ended the text."""
        return cast(State, state).followed

    def forced(self, state: Any, before: Before = NOTHING) -> list[int]:
        """The tokens that are certain; none where the budget or a count of tokens makes it matter which they are, or a stop may come."""
        parts = self._parts
        if parts.encode is None or state.cut is not None or parts.stops or self._counts_tokens or self.is_final(state):
            return []
        text = self._text_without_choice(state)
        end = self._stepper.read(state, text)
        if end is None:
            return []
        left = None if parts.max_tokens is None else parts.max_tokens - state.taken
        writing, whole = Writing(parts.encode, self.vocabulary, before), self.is_closed(end)
        if not whole and left is not None and left <= len(text):
            return []
        ids = writing.ids(text) or []
        if not whole:
            ids = ids[: certain(writing, text, ids, _After(self, end, parts.follow))]
        return ids if self._fit(state, ids, before) else []

    def _fit(self, state: State, ids: list[int], before: Before) -> bool:
        """Whether some tokens may be written one after the other."""
        at: State | None = state
        for place, token_id in enumerate(ids):
            if at is None or at.cut is not None:
                return False
            skip = len(before.text) if before.healed and not place else 0
            if len(self.vocabulary.tokens[token_id]) > skip:  # what is forced leads nowhere else: nothing needs to be looked ahead
                at = self._stepper.after(at, token_id, skip)
        return at is not None

    @cached_property
    def _counts_tokens(self) -> bool:
        return any(counts_tokens(residue.formula) for residue in self._residues)

    def _text_without_choice(self, state: State) -> bytes:
        """Whole characters with which every legal text goes on."""
        common: bytes | None = None
        for residue, inner in zip(self._residues, state.tokens, strict=True):
            if inner is None:
                continue
            for option in self._options(state, residue):
                seen = self._stepper.seen(state.text)
                texts = [residue.forced(inner), *(self._atoms[i].forced(seen) for i in option)]
                longest = max(texts, key=len)
                common = longest if common is None else common_beginning(common, longest)
        return whole_beginning(common or b"")

    def _options(self, state: State, residue: Residue) -> list[frozenset[int]]:
        return [option for option in residue.options if all(state.alive[i] for i in option)]

    def may_follow(self, state: State, data: bytes) -> bool:
        """Whether the text may go on with some bytes, as far as residues and engines know; Python functions are not asked."""
        seen = self._stepper.seen(state.text + data)
        for residue, inner in zip(self._residues, state.tokens, strict=True):
            if inner is not None and residue.read(inner, data) is not None:
                for option in self._options(state, residue):
                    if all(self._atoms[i].alive(seen) for i in option - self._functions):
                        return True
        return False

    # --- what may come next

    def _mask(self, state: State) -> Bits:
        if state.cut is not None:
            return np.zeros(words(self._width), np.uint32)
        flags = np.zeros(self._width, np.bool_)
        if self._parts.skips_space and not state.text:
            self._ask_all(state, flags)
        else:
            for choice in self._choices(state):
                self._add_choice(state, choice, flags)
            self._judge_stops(state, flags)
        if self._is_narrow(state):
            for token_id in np.flatnonzero(flags).tolist():
                flags[token_id] = self._leads_on(state, token_id)
        if self.is_final(state):
            flags[sorted(self._eos | self._follow)] = True
            if self._ends_by_space(state):
                flags[space_tokens(self.vocabulary)[0]] = True
        return pack(flags)

    def _leads_on(self, state: State, token_id: int) -> bool:
        """A token does not lead nowhere. Where an engine fails to say so, it may still be right."""
        try:
            after = self._stepper.after(state, token_id)
        except ConstraintViolated:
            return True
        return after is not None and self._goes_on(after)

    def _choices(self, state: State) -> list[Choice]:
        """What residues and engines allow at a state; ends apart, stops left to be judged."""
        found = _choices.get((self._number, state))
        if found is None:
            found = list(self._find_choices(state))
            weight = _ENTRY + len(state.text) + sum(choice.bits.nbytes for choice in found)
            _choices.put((self._number, state), found, weight)
        return found

    def _find_choices(self, state: State) -> Iterator[Choice]:
        engines: dict[int, Bits] = {}
        spaced = self._parts.skips_space and not state.text  # a first token may begin with the prompt's space: then it is asked for itself
        for number, (residue, inner) in enumerate(zip(self._residues, state.tokens, strict=True)):
            if inner is None:
                continue
            for option in residue.options:
                if all(state.alive[i] for i in option):
                    bits = residue.mask(inner) & self._text_tokens
                    for i in option - self._functions if not spaced else ():
                        if i not in engines:
                            engines[i] = self._atoms[i].mask(self._stepper.seen(state.text))
                        bits &= engines[i]
                    yield Choice(number, bits, option & self._functions)

    def open_tokens(self, state: State) -> Bits:
        """Tokens that residues and engines allow, before any Python function is asked."""
        joined = np.zeros(words(self._width), np.uint32)
        for choice in self._choices(state):
            joined |= choice.bits
        return joined

    def _ask_all(self, state: State, flags: npt.NDArray[np.bool_]) -> None:
        for token_id in {*np.flatnonzero(unpack(self.open_tokens(state), self._width)).tolist(), *self._stop_candidates(state)}:
            flags[token_id] = self._stepper.after(state, token_id) is not None

    def _add_choice(self, state: State, choice: Choice, flags: npt.NDArray[np.bool_]) -> None:
        """Add a choice's tokens; Python functions are asked about them one by one."""
        wanted = unpack(choice.bits, self._width) & ~flags
        if not choice.functions:
            flags |= wanted
            return
        ids = np.flatnonzero(wanted)
        text, texts = self._stepper.seen(state.text), self.vocabulary.tokens
        for i in choice.functions:
            atom = cast(CustomAtom, self._atoms[i])
            ids = ids[atom.alive_after(text, [texts[token_id] for token_id in ids.tolist()])]
        flags[ids] = True

    def _judge_stops(self, state: State, flags: npt.NDArray[np.bool_]) -> None:
        """Tokens that may meet a stop: allowed where one ends them, or begins to, or where they go on without."""
        known: Known = {}
        for token_id in self._stop_candidates(state):
            cut, threads = self._stepper.meet_stops(state, self.vocabulary.tokens[token_id], known)
            if cut is not None:
                flags[token_id] = not self._stepper.spent(state)
            elif not (flags[token_id] and self._chosen(state, token_id)):
                flags[token_id] = bool(self._stepper.removed(threads)) and self._stepper.after(state, token_id) is not None

    def _chosen(self, state: State, token_id: int) -> bool:
        """A token that Python functions let pass goes on in some choice, without a stop."""
        choices = self._choices(state)
        for number, bits, functions in choices:
            inner = state.tokens[number]
            if allows(bits, token_id) and inner is not None and self._residues[number].advance(inner, token_id) is not None:
                text = self._stepper.seen(state.text + self.vocabulary.tokens[token_id])
                if len(choices) == 1 or all(self._atoms[i].alive(text) for i in functions):
                    return True
        return False

    def _stop_candidates(self, state: State) -> Sequence[int]:
        """Tokens that may meet a stop from here."""
        if not self._parts.stops:
            return ()
        begun = self._parts.stops.next_bytes(state.threads)
        return [*self._stoppers, *(i for byte in sorted(begun) for i in self._by_first.get(byte, ()))]

    def _is_narrow(self, state: State) -> bool:
        """Whether few enough tokens are open here to look one ahead."""
        return not self._parts.stops and int(np.bitwise_count(self.open_tokens(state)).sum()) <= NARROW

    def _goes_on(self, state: State) -> bool:
        """The text is valid as it is, or some token can follow; taken to be so where finding out would take long, or an engine fails."""
        with suppress(ConstraintViolated):
            return self._can_end_or_follow(state)
        return True

    def _can_end_or_follow(self, state: State) -> bool:
        if self.is_final(state):
            return True
        ids: Ids = np.flatnonzero(unpack(self.open_tokens(state), self._width))
        if self._parts.stops:
            return len(ids) > 0 or any(self._stepper.after(state, i) is not None for i in self._stop_candidates(state)[:TRIED])
        if not any(state.alive[i] for i in self._functions) or len(ids) > TRIED:
            return len(ids) > 0
        return any(self._stepper.after(state, i) is not None for i in ids.tolist())


TRIES = 64
"""Beginnings of tokens that engines are asked about; past that, some token is taken to be possible."""


class _After:
    """What may come after a known text. What single tokens say is read from the mask there; engines are asked little more."""

    def __init__(self, combination: Combination, end: State, follow: str) -> None:
        self._combination = combination
        self._end = end
        self._numbers = numbers_of(combination.vocabulary)
        self._open = unpack(combination.open_tokens(end), len(combination.vocabulary))
        self.follow = follow if combination.is_final(end) else ""

    def goes_on(self, data: bytes) -> bool:
        if self._dead(data):
            return False
        one_character = len(data) == 1 or data[0] >= 0x80
        return data in self._numbers or one_character or self._combination.may_follow(self._end, data)

    def _dead(self, data: bytes) -> int:
        """How many of the bytes make a token that may not come; 0 for none."""
        sizes = range(1, len(data) + 1)
        return next((size for size in sizes if (i := self._numbers.get(data[:size])) is not None and not self._open[i]), 0)

    def takes(self, ids: Ids, skip: int) -> bool:
        """Tokens in the order of their bytes are asked about, those with a beginning that is not legal left out together."""
        tokens, order = self._combination.vocabulary.tokens, ids.tolist()
        at, tries = 0, 0
        while at < len(order) and tries <= TRIES:
            rest = tokens[order[at]][skip:]
            dead = self._dead(rest)
            if not dead:
                if rest in self._numbers or self._combination.may_follow(self._end, rest):
                    return True
                tries, dead = tries + 1, len(rest)
            beginning = rest[:dead]
            at = bisect_right(order, beginning, at, key=lambda i: tokens[i][skip : skip + len(beginning)])
        return at < len(order)

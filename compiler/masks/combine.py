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

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.atoms import TextAtom
from lmqlc.compiler.masks.core import following
from lmqlc.compiler.masks.forms import Ids, pack, unpack, words
from lmqlc.compiler.masks.interface import Bits
from lmqlc.compiler.masks.phrases import PhraseSearch, Thread
from lmqlc.compiler.masks.residues import Residue, Residues, counts_tokens
from lmqlc.compiler.masks.token_automaton import State as Inner
from lmqlc.compiler.masks.trie import vocabulary_index

NARROW = 32
"""Up to this many allowed tokens are looked ahead."""
TRIED = 256
"""Tokens tried, while looking ahead, to find one with which a Python function lets the text go on; past that it is taken to be possible."""
KEPT = 1024
"""Masks remembered, least recently used out first."""

Encode = Callable[[str], list[int]]


class Place(NamedTuple):
    """Where a residue's automaton stands at a token boundary: its state, and the code points left of its limit."""

    q: int
    room: int


class State(NamedTuple):
    """A text under way, or ended.

    text: the bytes written. taken: how many tokens. tokens: each residue's own state, None where it is dead. places: each residue's
    `Place`, where there are stops. alive: by external atom, False once it is known to be false. threads: stop phrases begun.
    cut: None while open, else the bytes to drop at the end.
    """

    text: bytes
    taken: int
    tokens: tuple[Inner | None, ...]
    places: tuple[Place, ...]
    alive: tuple[bool, ...]
    threads: tuple[Thread, ...] = ()
    cut: int | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """What a combination is made of. follow: the literal after the hole, "" for none. phrases: the stops as the runtime shows them.
    skips_space: a space at the start of the text belongs to the prompt; residues know, atoms are not shown it."""

    residues: Residues[Residue]
    atoms: tuple[TextAtom, ...]
    stops: PhraseSearch
    phrases: tuple[StopPhrase, ...]
    skips_space: bool
    max_tokens: int | None
    follow: str
    encode: Encode | None


class Combination:
    """A `TokenConstraint` over regular and external atoms. Made by `compose`."""

    exact = False

    def __init__(self, parts: Parts, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._parts = parts
        self._residues = parts.residues.residues
        self._atoms = parts.atoms
        self._width = len(vocabulary)
        self._eos = frozenset(vocabulary.eos_ids)
        self._masks: OrderedDict[State, Bits] = OrderedDict()
        self._open_masks: OrderedDict[State, Bits] = OrderedDict()
        index = vocabulary_index(vocabulary)
        self._follow = frozenset(following(vocabulary, index, parts.follow.encode()) if parts.follow else ())
        self._stoppers: list[int] = []
        self._by_first: dict[int, list[int]] = {}
        if parts.stops:
            self._find_stoppers(index.order.tolist())
        # Atoms that no option needs to be true never rule a token out.
        self._needed = frozenset[int]().union(*(option for residue in self._residues for option in residue.options))
        self._functions = frozenset(i for i in self._needed if parts.atoms[i].by_token)
        self._text_tokens = pack(index.usable)
        self._space_tokens = pack(np.array([token.startswith(b" ") for token in vocabulary.tokens], np.bool_))

    def _find_stoppers(self, usable: list[int]) -> None:
        """Tokens that may meet a stop wherever they stand, and all tokens by their first byte."""
        for token_id in usable:
            token = self.vocabulary.tokens[token_id]
            self._by_first.setdefault(token[0], []).append(token_id)
            if self._parts.stops.may_concern(token):
                self._stoppers.append(token_id)

    @property
    def phrases(self) -> tuple[StopPhrase, ...]:
        """The stop phrases of the constraint."""
        return self._parts.phrases

    def start(self) -> State:
        """The state of the empty text."""
        tokens = tuple(residue.start() for residue in self._residues)
        places = tuple(Place(r.automaton.start, r.automaton.char_limit or 0) for r in self._residues) if self._parts.stops else ()
        return self._pruned(State(b"", 0, tokens, places, tuple(True for _ in self._atoms)))

    def satisfiable(self) -> bool:
        """Some token can come first, or the empty text is valid; False is certain, True is not."""
        start = self.start()
        return any(state is not None for state in start.tokens) and self._goes_on(start)

    def mask(self, state: Any) -> Bits:
        """The allowed tokens of a state; see `TokenConstraint`."""
        bits = self._masks.get(state)
        if bits is None:
            bits = self._masks[state] = self._mask(state)
            bits.flags.writeable = False
            while len(self._masks) > KEPT:
                self._masks.popitem(last=False)
        self._masks.move_to_end(state)
        return bits

    def advance(self, state: Any, token_id: int) -> State | None:
        """The state after a token, None where it is not allowed."""
        if state.cut is not None or not 0 <= token_id < self._width:
            return None
        if token_id in self._eos:
            return _ended(0) if self.is_final(state) else None
        after = self._after(state, token_id)
        if after is not None:
            return after if not self._is_narrow(state) or self._goes_on(after) else None
        if token_id in self._follow and self.is_final(state):
            return _ended(len(self.vocabulary.tokens[token_id]))
        return None

    def is_final(self, state: Any) -> bool:
        """Whether the text so far (after the cut, where it has ended) is valid."""
        if state.cut is not None:
            return True
        number = self._actual(state, state.text)
        if number is None or state.tokens[number] is None:
            return False
        residue = self._residues[number]
        return _accepts(residue, state.places[number], state.taken) if state.places else residue.tokens.is_final(state.tokens[number])

    def is_closed(self, state: Any) -> bool:
        """Whether the text is valid and no other can follow; False where an atom cannot tell."""
        if not self.is_final(state):
            return False
        if state.cut is not None:
            return True
        if not self._eos and not self.mask(state).any():
            return True  # Nothing could end the text otherwise.
        return all(self._closed_option(state, residue, inner) for residue, inner in zip(self._residues, state.tokens, strict=True))

    def _closed_option(self, state: State, residue: Residue, inner: Inner | None) -> bool:
        if inner is None or residue.tokens.is_closed(inner):
            return True
        options = [option for option in residue.options if all(state.alive[i] for i in option)]
        return all(any(self._atoms[i].closed(self._seen(state.text)) for i in option) for option in options)

    def stopped(self, state: Any) -> int | None:
        """None while decoding goes on, else the bytes to cut from the end of what was written."""
        return cast(State, state).cut

    def forced(self, state: Any) -> list[int]:
        """The tokens of the text that one grammar leaves no choice about, as the tokenizer writes it; empty where the budget, a count of
        tokens, a stop or another possibility is near."""
        encode = self._parts.encode
        if encode is None or state.cut is not None or self._parts.stops or self.is_final(state):
            return []
        text = self._forced_text(state)
        left = None if self._parts.max_tokens is None else self._parts.max_tokens - state.taken
        if not text or (left is not None and left <= len(text.encode())):
            return []
        ids, at = encode(text), cast(State | None, state)
        for token_id in ids:
            at = None if at is None else self.advance(at, token_id)
        return [] if at is None or at.text != state.text + text.encode() else ids

    def _forced_text(self, state: State) -> str:
        """Whole characters that every option leaves no choice about."""
        options = [
            (residue, option)
            for residue, inner in zip(self._residues, state.tokens, strict=True)
            for option in (residue.options if inner is not None else ())
            if all(state.alive[i] for i in option)
        ]
        if len(options) != 1 or any(counts_tokens(residue.formula) for residue in self._residues):
            return ""
        found = max((self._atoms[i].forced(self._seen(state.text)) for i in options[0][1]), key=len, default=b"")
        for end in range(len(found), max(len(found) - 4, 0), -1):
            try:
                return found[:end].decode("utf-8")
            except UnicodeDecodeError:
                continue
        return ""

    # --- what may come next

    def _mask(self, state: State) -> Bits:
        if state.cut is not None:
            return np.zeros(words(self._width), np.uint32)
        flags = unpack(self._open(state), self._width).copy()
        self._ask_functions(state, flags)
        for token_id in self._stop_candidates(state):
            flags[token_id] = self._after(state, token_id) is not None
        if self._is_narrow(state):
            for token_id in np.flatnonzero(flags).tolist():
                after = self._after(state, token_id)
                flags[token_id] = after is not None and self._goes_on(after)
        if self.is_final(state):
            flags[sorted(self._eos | self._follow)] = True
        return pack(flags)

    def _open(self, state: State) -> Bits:
        """Tokens that residues and engines allow, before any Python function is asked. Stops and ends apart."""
        bits = self._open_masks.get(state)
        if bits is None:
            bits = self._open_masks[state] = self._join(state)
            while len(self._open_masks) > KEPT:
                self._open_masks.popitem(last=False)
        return bits

    def _join(self, state: State) -> Bits:
        joined = np.zeros(words(self._width), np.uint32)
        for bits, _ in self._choices(state):
            joined |= bits
        return joined

    def _choices(self, state: State) -> list[tuple[Bits, frozenset[int]]]:
        """Tokens that residues and engines allow, for every set of Python functions that must not refuse them; ends apart."""
        engines: dict[int, Bits] = {}
        found: list[tuple[Bits, frozenset[int]]] = []
        for residue, inner in zip(self._residues, state.tokens, strict=True):
            for option in residue.options if inner is not None else ():
                if all(state.alive[i] for i in option):
                    bits = residue.tokens.mask(inner) & self._text_tokens
                    for i in option - self._functions:
                        if i not in engines:
                            engines[i] = self._engine_mask(i, state.text)
                        bits &= engines[i]
                    found.append((bits, option & self._functions))
        return found

    def _engine_mask(self, number: int, text: bytes) -> Bits:
        """An engine's mask. Where a leading space is skipped, a first token with one is left to be asked for by itself."""
        bits = self._atoms[number].mask(self._seen(text))
        return bits | self._space_tokens if self._parts.skips_space and not text else bits

    def _ask_functions(self, state: State, flags: npt.NDArray[np.bool_]) -> None:
        """Drop the tokens that Python functions refuse; they can only be asked one by one."""
        if self._parts.skips_space and not state.text:
            for token_id in np.flatnonzero(flags).tolist():
                flags[token_id] = self._after(state, token_id) is not None
        elif self._has_functions(state):
            flags[:] = False
            for bits, functions in self._choices(state):
                for token_id in np.flatnonzero(unpack(bits, self._width) & ~flags).tolist():
                    text = self._seen(state.text + self.vocabulary.tokens[token_id])
                    flags[token_id] = all(self._atoms[i].alive(text) for i in functions)

    def _seen(self, text: bytes) -> bytes:
        """The text that external atoms see: without a leading space that belongs to the prompt."""
        return text[1:] if self._parts.skips_space and text.startswith(b" ") else text

    def _has_functions(self, state: State) -> bool:
        return any(state.alive[i] for i in self._functions)

    def _stop_candidates(self, state: State) -> Sequence[int]:
        """Tokens that may meet a stop from here."""
        if not self._parts.stops:
            return ()
        begun = self._parts.stops.next_bytes(state.threads)
        return [*self._stoppers, *(i for byte in sorted(begun) for i in self._by_first.get(byte, ()))]

    def _is_narrow(self, state: State) -> bool:
        """Whether few enough tokens are open here to look one ahead."""
        return not self._parts.stops and int(np.bitwise_count(self._open(state)).sum()) <= NARROW

    def _goes_on(self, state: State) -> bool:
        """The text is valid as it is, or some token can follow; taken to be so where finding out would take long."""
        if self.is_final(state):
            return True
        ids: Ids = np.flatnonzero(unpack(self._open(state), self._width))
        if self._parts.stops:
            return len(ids) > 0 or any(self._after(state, i) is not None for i in self._stop_candidates(state)[:TRIED])
        if not self._has_functions(state) or len(ids) > TRIED:
            return len(ids) > 0
        return any(self._after(state, i) is not None for i in ids.tolist())

    # --- one token

    def _after(self, state: State, token_id: int) -> State | None:
        """The state after a token that adds text, None where it cannot; without looking ahead."""
        token = self.vocabulary.tokens[token_id]
        limit = self._parts.max_tokens
        if not token or (limit is not None and state.taken >= limit):
            return None
        threads: tuple[Thread, ...] = ()
        if self._parts.stops:
            cut, threads = self._meet_stops(state, token)
            if cut is not None:
                return _ended(len(state.text) + len(token) - cut)
        tokens = tuple(
            None if inner is None else residue.advance(inner, token_id) for residue, inner in zip(self._residues, state.tokens, strict=True)
        )
        text = state.text + token
        live = any(inner is not None for inner in tokens)
        alive = tuple(
            flag and (not live or i not in self._needed or self._atoms[i].alive(self._seen(text))) for i, flag in enumerate(state.alive)
        )
        after = self._pruned(State(text, state.taken + 1, tokens, self._moved(state, token), alive, threads))
        if any(inner is not None for inner in after.tokens):
            return after
        begun = tuple(thread for thread in threads if self._parts.stops.removes(thread))
        if not begun or state.taken + 1 == limit:
            return None
        return after._replace(threads=begun)

    def _pruned(self, state: State) -> State:
        """The state without residues that need an atom known to be false."""
        tokens = tuple(
            inner if any(all(state.alive[i] for i in option) for option in residue.options) else None
            for residue, inner in zip(self._residues, state.tokens, strict=True)
        )
        return state._replace(tokens=tokens)

    def _moved(self, state: State, token: bytes) -> tuple[Place, ...]:
        """The residues' places after a token; needed only where stops are judged inside tokens."""
        return tuple(
            _run(residue, place, token, state.taken) for residue, place in zip(self._residues, state.places, strict=bool(state.places))
        )

    def _meet_stops(self, state: State, token: bytes) -> tuple[int | None, tuple[Thread, ...]]:
        """Where the text is cut if a stop ends inside the token, and the phrases begun where none does."""
        known: dict[int, bool] = {}

        def holds(at: int) -> bool:
            if at not in known:
                known[at] = self._holds_inside(state, token[: at - len(state.text)])
            return known[at]

        threads: Sequence[Thread] = state.threads
        for offset, byte in enumerate(token):
            at = len(state.text) + offset
            threads = self._parts.stops.step(threads, byte, at, holds)
            cut = self._parts.stops.ended(threads, at + 1, holds)
            if cut is not None:
                return cut, ()
        return None, tuple(sorted(threads))

    def _holds_inside(self, state: State, part: bytes) -> bool:
        """Whether the text with the first bytes of a token, as a final text, is valid."""
        if not part:
            return self.is_final(state)
        number = self._actual(state, state.text + part)
        if number is None or state.tokens[number] is None:
            return False
        residue = self._residues[number]
        return _accepts(residue, _run(residue, state.places[number], part, state.taken), state.taken + 1)

    def _actual(self, state: State, text: bytes) -> int | None:
        """The number of the residue that judges `text`, by what its external atoms say of it; None where none accepts any text."""
        values = tuple(flag and atom.holds(self._seen(text)) for flag, atom in zip(state.alive, self._atoms, strict=True))
        return self._parts.residues.by_values.get(values)


def _ended(cut: int) -> State:
    """The ended state; nothing but the cut matters of it."""
    return State(b"", 0, (), (), (), (), cut)


def _region(residue: Residue, count: int) -> int:
    """The region of token counts in which a count lies."""
    return int(np.searchsorted(residue.automaton.token_bounds, count, side="right")) - 1


def _accepts(residue: Residue, place: Place, count: int) -> bool:
    """The residue accepts the text that leads to a place with `count` tokens."""
    room = residue.automaton.char_limit is None or place.room >= 0
    return room and bool(residue.automaton.accepts[_region(residue, count), place.q])


def _run(residue: Residue, place: Place, part: bytes, count: int) -> Place:
    """A residue's place after the first bytes of the token that follows `count` others."""
    automaton = residue.automaton
    regions = len(automaton.delta)
    before, inside = _region(residue, count) % regions, _region(residue, count + 1) % regions
    q, room = place
    for offset, byte in enumerate(part):
        q = int(automaton.delta[inside if offset else before, q, automaton.byte_class[byte]])
        room -= not 0x80 <= byte < 0xC0
    return Place(q, room)

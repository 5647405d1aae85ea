"""One token of a combined constraint: where its text goes on, where a stop ends it, and whether a text is valid.

See `combine` for what a combination means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.atoms import TextAtom
from lmqlc.compiler.masks.canonical import Encode
from lmqlc.compiler.masks.custom import CustomAtom
from lmqlc.compiler.masks.phrases import PhraseSearch, Thread
from lmqlc.compiler.masks.residues import Residue, Residues
from lmqlc.compiler.masks.token_automaton import State as Inner
from lmqlc.grammar.source import Span

Known = dict[bytes, bool]
"""Whether a text with some first bytes of a token is valid; shared while many tokens are asked about at one state."""


class Place(NamedTuple):
    """Where a residue's automaton stands at a token boundary: its state, and the code points left of its limit."""

    q: int
    room: int


class State(NamedTuple):
    """A text under way, or ended.

    text: the bytes written. taken: how many tokens. tokens: each residue's own state, None where it is dead. places: each residue's
    `Place`, where there are stops. alive: by external atom, False once it is known to be false. threads: stop phrases begun.
    cut: None while open, else the bytes to drop at the end. followed: it was ended by the text that follows.
    """

    text: bytes
    taken: int
    tokens: tuple[Inner | None, ...]
    places: tuple[Place, ...]
    alive: tuple[bool, ...]
    threads: tuple[Thread, ...] = ()
    cut: int | None = None
    followed: bool = False


@dataclass(frozen=True, eq=False)
class Parts:
    """What a combination is made of. follow: the literal after the hole, "" for none. phrases: the stops as the runtime shows them. ends:
    special tokens that end the text as end-of-text does.
    skips_space: a space at the start of the text belongs to the prompt; residues know, atoms are not shown it. span: of the constraint.
    spaces_end: words or sentences are counted (see `closing`)."""

    residues: Residues[Residue]
    atoms: tuple[TextAtom, ...]
    stops: PhraseSearch
    phrases: tuple[StopPhrase, ...]
    skips_space: bool
    max_tokens: int | None
    follow: str
    ends: frozenset[int]
    encode: Encode | None
    span: Span | None = None
    spaces_end: bool = False


class Stepper:
    """The states of a combination over one vocabulary, without masks and without looking ahead."""

    def __init__(self, parts: Parts, vocabulary: Vocabulary) -> None:
        self.parts = parts
        self.residues = parts.residues.residues
        self._tokens = vocabulary.tokens
        # Atoms that no option needs to be true never rule a token out.
        self.needed = frozenset[int]().union(*(option for residue in self.residues for option in residue.options))

    def start(self) -> State:
        """The state of the empty text."""
        tokens = tuple(residue.start() for residue in self.residues)
        places = tuple(Place(r.automaton.start, r.automaton.char_limit or 0) for r in self.residues) if self.parts.stops else ()
        return self._pruned(State(b"", 0, tokens, places, tuple(True for _ in self.parts.atoms)))

    def seen(self, text: bytes) -> bytes:
        """The text that external atoms see: without a leading space that belongs to the prompt."""
        return text[1:] if self.parts.skips_space and text.startswith(b" ") else text

    def after(self, state: State, token_id: int, skip: int = 0) -> State | None:
        """The state after a token that adds text, None where it cannot. skip: its first bytes that are the prompt's and are not read."""
        token = self._tokens[token_id][skip:]
        return self._read(state, token, None if skip else token_id)

    def read(self, state: State, text: bytes) -> State | None:
        """The state after some bytes, read as one token."""
        return self._read(state, text, None)

    def _read(self, state: State, token: bytes, token_id: int | None) -> State | None:
        """The state after the bytes of a token; token_id: where they are all of it."""
        if not token or self.spent(state):
            return None
        threads: tuple[Thread, ...] = ()
        if self.parts.stops:
            cut, threads = self.meet_stops(state, token, {})
            if cut is not None:
                return ended(len(state.text) + len(token) - cut)
        inner = tuple(
            None if inner is None else residue.read(inner, token) if token_id is None else residue.advance(inner, token_id)
            for residue, inner in zip(self.residues, state.tokens, strict=True)
        )
        text = state.text + token
        alive = self._still_alive(state, text) if any(found is not None for found in inner) else state.alive
        after = self._pruned(State(text, state.taken + 1, inner, self._moved(state, token), alive, threads))
        if any(found is not None for found in after.tokens):
            return after
        begun = self.removed(threads)
        return after._replace(threads=begun) if begun and not self.spent(after) else None

    def may_begin(self, state: State, text: bytes) -> bool:
        """Some external atoms that a residue needs are alive after more bytes; what residues say of them is not asked."""
        alive = self._still_alive(state, state.text + text)
        return any(all(alive[i] for i in option) for residue in self.residues for option in residue.options)

    def removed(self, threads: tuple[Thread, ...]) -> tuple[Thread, ...]:
        """The threads of phrases that a stop removes; they go on where the text itself cannot."""
        return tuple(thread for thread in threads if self.parts.stops.removes(thread))

    def spent(self, state: State) -> bool:
        """The budget leaves no further token."""
        return self.parts.max_tokens is not None and state.taken >= self.parts.max_tokens

    def undecided(self, state: State) -> bool:
        """Whether the text can go on only if Python functions, which cannot say yet, will have it so."""
        if state.cut is not None:
            return False
        seen, atoms = self.seen(state.text), self.parts.atoms
        unknown = [i for i, atom in enumerate(atoms) if state.alive[i] and isinstance(atom, CustomAtom) and atom.undecided(seen)]
        if not unknown:
            return False
        live = {
            tuple(values[i] for i in unknown)
            for values, number in self.parts.residues.by_values.items()
            if state.tokens[number] is not None and not any(value and not alive for value, alive in zip(values, state.alive, strict=True))
        }
        return len(live) < 1 << len(unknown)

    def _still_alive(self, state: State, text: bytes) -> tuple[bool, ...]:
        seen, atoms = self.seen(text), self.parts.atoms
        return tuple(flag and (i not in self.needed or atoms[i].alive(seen)) for i, flag in enumerate(state.alive))

    def _pruned(self, state: State) -> State:
        """The state without residues that need an atom known to be false."""
        tokens = tuple(
            inner if any(all(state.alive[i] for i in option) for option in residue.options) else None
            for residue, inner in zip(self.residues, state.tokens, strict=True)
        )
        return state._replace(tokens=tokens)

    def _moved(self, state: State, token: bytes) -> tuple[Place, ...]:
        """The residues' places after a token; needed only where stops are judged inside tokens."""
        return tuple(
            _run(residue, place, token, state.taken) for residue, place in zip(self.residues, state.places, strict=bool(state.places))
        )

    def meet_stops(self, state: State, token: bytes, known: Known) -> tuple[int | None, tuple[Thread, ...]]:
        """Where the text is cut if a stop ends inside the token, and the phrases begun where none does."""

        def holds(at: int) -> bool:
            part = token[: at - len(state.text)]
            if part not in known:
                known[part] = self.holds_with(state, part)
            return known[part]

        return self.parts.stops.meet(state.threads, token, len(state.text), holds)

    def is_final(self, state: State) -> bool:
        """The text so far (after the cut, where it has ended) is valid."""
        return state.cut is not None or self.holds_with(state, b"")

    def holds_with(self, state: State, part: bytes) -> bool:
        """The text with the first bytes of a next token, as a final text, is valid."""
        seen = self.seen(state.text + part)
        values = tuple(flag and atom.holds(seen) for flag, atom in zip(state.alive, self.parts.atoms, strict=True))
        number = self.parts.residues.by_values.get(values)
        if number is None or state.tokens[number] is None:
            return False
        residue = self.residues[number]
        if not state.places:
            return residue.tokens.is_final(state.tokens[number])
        place = _run(residue, state.places[number], part, state.taken)
        return _accepts(residue, place, state.taken + bool(part))


def ended(cut: int, *, followed: bool = False) -> State:
    """The ended state; nothing but how it ended matters of it."""
    return State(b"", 0, (), (), (), (), cut, followed)


def _region(residue: Residue, count: int) -> int:
    """The region of token counts in which a count lies."""
    return int(np.searchsorted(residue.automaton.token_bounds, count, side="right")) - 1


def dead_end(residue: Residue, place: Place) -> bool:
    """No text of the residue goes on from a place."""
    automaton = residue.automaton
    spent = automaton.char_limit is not None and place.room <= 0
    return spent or not automaton.delta[:, place.q].any()


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

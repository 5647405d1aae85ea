"""Linked constraints of an artifact: worked out when the program was compiled for a tokenizer, opened when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.runtime.link import LinkedHole, Place, link_hole, number_kind, whole_constraint

if TYPE_CHECKING:
    from lmqlc.compiler.masks.core import Core

    Arrays = Mapping[str, Any]


def link_ahead(program: Program, tokenizer: Tokenizer) -> dict[str, Any]:
    """The arrays of every hole whose constraint is known now and regular; a number's twice, with and without a space before it.

    Raises UnsatisfiableConstraint for a hole that no text of the vocabulary can fill.
    """
    from lmqlc.compiler.masks.store import to_arrays
    from lmqlc.compiler.masks.token_automaton import TokenAutomaton

    arrays: dict[str, Any] = {}
    for hole, leading, constraint in _known(program):
        place = Place(follow=hole.follow, leading_space=leading, source=program.source)
        linked = link_hole(constraint, tokenizer, place).constraint
        if isinstance(linked, TokenAutomaton):
            prefix = _prefix(hole.index, leading, tokenizer.vocabulary)
            arrays |= {prefix + name: array for name, array in to_arrays(linked).items()}
    return arrays


def _known(program: Program) -> Iterator[tuple[HoleIR, bool, Any]]:
    for hole in program.holes:
        if is_static(hole):
            constraint = whole_constraint(hole.constraint, (), None)
            for leading in (False, True) if number_kind(constraint) is not None else (False,):
                yield hole, leading, constraint


def is_static(hole: HoleIR) -> bool:
    """Nothing in a hole's constraint waits for the run."""
    return not hole.slots and not hole.has_type and not hole.distribution


class StoredAutomata:
    """The arrays of one artifact. Opened once per hole, and used for every budget."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._cores: dict[str, Core] = {}

    def linked(self, hole: HoleIR, tokenizer: Tokenizer, place: Place) -> LinkedHole | None:
        """The hole's constraint, None where the artifact has none for this tokenizer. Raises ArtifactError for damaged arrays."""
        from lmqlc.compiler.masks.canonical import InText
        from lmqlc.compiler.masks.token_automaton import finished

        core = self._core(_prefix(hole.index, place.leading_space, tokenizer.vocabulary), tokenizer.vocabulary)
        if core is None:
            return None
        linked = finished(core, max_tokens=None, follow=place.follow, encode=InText(tokenizer))
        return LinkedHole(linked, core.automaton.phrases, longest=core.longest).within(place.budget, place.before)

    def _core(self, prefix: str, vocabulary: Vocabulary) -> Core | None:
        from lmqlc.compiler.masks.store import from_arrays

        if prefix not in self._cores:
            arrays = {name.removeprefix(prefix): array for name, array in self._arrays.items() if name.startswith(prefix)}
            if not arrays:
                return None
            self._cores[prefix] = from_arrays(arrays, vocabulary).core
        return self._cores[prefix]


def _prefix(hole: int, leading: bool, vocabulary: Vocabulary) -> str:
    return f"{vocabulary.fingerprint[:16]}.hole{hole}{'.spaced' if leading else ''}."

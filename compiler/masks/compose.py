"""The entry to masks: any bound constraint over one vocabulary becomes a constraint on tokens.

A regular constraint becomes an exact token automaton. Where a grammar, a schema without a regular form or a Python function takes part,
the formula is taken apart into regular residues and judged beside those (see `combine`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.problems import BAD_TYPE, error
from lmqlc.compiler.automata.remembered import Rule, remembers, tells_apart
from lmqlc.compiler.automata.typed_memory import type_rule
from lmqlc.compiler.masks.atoms import TextAtom
from lmqlc.compiler.masks.canonical import Encode
from lmqlc.compiler.masks.combine import Combination
from lmqlc.compiler.masks.combine_step import Parts
from lmqlc.compiler.masks.core import core_of
from lmqlc.compiler.masks.custom import MARK, CustomAtom
from lmqlc.compiler.masks.cuts import special_ends
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.phrases import PhraseSearch, phrases_of
from lmqlc.compiler.masks.residues import (
    RegularResidue,
    Residues,
    assigned,
    atoms_of,
    external_atoms,
    linked_residues,
    regular_residues,
)
from lmqlc.compiler.masks.schemas import schema_of
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, finished
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.compiler.passes.stops import split_stops
from lmqlc.compiler.types import is_plain_text, is_recursive
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.grammar.source import Source


def typed(constraint: c.Constraint, inside: bool = False) -> c.Constraint:
    """The formula with types instead of `JSON(X, T)` where T is a Python type that is written as JSON.

    Under `or` and `not` (`inside`) types whose keys or items must be told apart are judged by a function besides; as conjuncts of the whole
    they have a memory.
    """
    if isinstance(constraint, c.And):
        return replace(constraint, args=tuple(typed(arg, inside) for arg in constraint.args))
    if isinstance(constraint, c.Or):
        return replace(constraint, args=tuple(typed(arg, True) for arg in constraint.args))
    if isinstance(constraint, c.Not):
        return replace(constraint, arg=typed(constraint.arg, True))
    if isinstance(constraint, c.Json):
        constraint = _json_type(constraint)
    if inside and isinstance(constraint, c.TypeIs):
        rule = _distinct(constraint)
        if rule is not None:
            return c.And((constraint, c.Custom(c.Const(_told_apart(rule)), (), constraint.span)), constraint.span)
    return constraint


def _json_type(constraint: c.Json) -> c.Json | c.TypeIs:
    if constraint.schema is None:
        return constraint
    schema = operands.value(constraint.schema)
    if schema is None or isinstance(schema, bool | dict | str | int | float | list | tuple):
        return constraint
    with _at(constraint):
        plain = is_plain_text(schema)
    if plain:
        message = f"JSON(X, …) takes a schema, or a type with parts, not {getattr(schema, '__name__', schema)!s:.80}"
        raise error(BAD_TYPE, message, constraint.span, "write `type(X) is …` for a plain type")
    return c.TypeIs(constraint.schema, constraint.span)


@lru_cache(maxsize=64)
def _told_apart(rule: Rule) -> Callable[[str, bool], bool | None]:
    """A constraint function: no key, and no item of a set, comes twice."""

    def told_apart(text: str, final: bool) -> bool | None:
        holds = remembers((rule,), text)
        return holds if final or not holds else None

    setattr(told_apart, MARK, True)
    return told_apart


Adapt = Callable[[TextAutomaton], TextAutomaton]


def is_regular(constraint: c.Constraint) -> bool:
    """Whether `build` alone can hold a constraint, and its masks are exact."""
    return not any(is_external(atom) for atom in atoms_of(constraint)) and not _judges(constraint)


def _judges(constraint: c.Constraint, inside: bool = False) -> bool:
    """Some type under `or` or `not` needs a function besides; see `typed`."""
    if isinstance(constraint, c.And | c.Or):
        return any(_judges(arg, inside or isinstance(constraint, c.Or)) for arg in constraint.args)
    if isinstance(constraint, c.Not):
        return _judges(constraint.arg, True)
    return inside and isinstance(constraint, c.TypeIs) and _distinct(constraint) is not None


def _distinct(atom: c.TypeIs) -> Rule | None:
    """What a memory must tell apart in the texts of a type; None for nothing."""
    with _at(atom):
        rule = type_rule(operands.value(atom.type))
    return rule if rule is not None and tells_apart(rule) else None


def is_external(atom: c.Constraint) -> bool:
    """Whether an atom is beyond the regular fragment."""
    if isinstance(atom, c.TypeIs):
        with _at(atom):
            return is_recursive(operands.value(atom.type))
    return isinstance(atom, c.Json | c.Grammar | c.Custom)


@contextmanager
def _at(atom: c.TypeIs | c.Json) -> Iterator[None]:
    """Findings about a type that are raised inside without a place have the atom's."""
    try:
        yield
    except LmqlCompileError as problem:
        found = [replace(one, span=one.span or atom.span) for one in problem.diagnostics]
        raise type(problem)(diagnostics=found, source=problem.source) from None


def compose(
    constraint: c.Constraint,
    vocabulary: Vocabulary,
    *,
    max_tokens: int | None = None,
    follow: str | None = None,
    encode: Encode | None = None,
    source: Source | None = None,
    with_space: Adapt | None = None,
    before: bytes | None = b"",
) -> TokenConstraint:
    """The constraint on tokens of a constraint without slots; arguments as for `link` and `build`.

    before: see `TokenConstraint.require`; None where that is asked later. with_space: gives an automaton a leading space that is no part of
    its texts, or the same automaton where that cannot be; None where the text begins at once.

    Raises UnsatisfiableConstraint where no text, or none within the budget, can meet it; UnsupportedConstraint and LmqlCompileError for
    what cannot be compiled.
    """
    with placed(source):
        constraint = typed(constraint)
        if is_regular(constraint):
            automaton = build(constraint, source=source)
            automaton = automaton if with_space is None else with_space(automaton)
            linked = _linked(automaton, vocabulary, max_tokens, follow=follow, encode=encode)
            return linked if before is None else linked.require(before)
        rest, stops = split_stops(normalize(constraint))
        externals = external_atoms(rest, is_external)
        plain = regular_residues(rest, externals, is_external, source)
        automata, skips_space = _with_space(plain, with_space)
        phrases = phrases_of(stops, source)
        parts = Parts(
            residues=linked_residues(plain, automata, phrases, lambda automaton: _linked(automaton, vocabulary, max_tokens)),
            atoms=tuple(_atom(external, vocabulary) for external in externals),
            stops=PhraseSearch(phrases),
            phrases=tuple(phrase.shown for phrase in phrases),
            ends=special_ends(tuple(phrase.shown for phrase in phrases), vocabulary.named),
            skips_space=skips_space,
            max_tokens=max_tokens,
            follow=follow or "",
            encode=encode,
            span=constraint.span,
            spaces_end=any(residue.automaton.spaces_end for residue in plain.residues),
        )
        combined = Combination(parts, vocabulary)
        if before is not None:
            combined.require(before)
        for atom in parts.atoms:
            atom.begin()
        return combined


def _linked(
    automaton: TextAutomaton, vocabulary: Vocabulary, max_tokens: int | None, follow: str | None = None, encode: Encode | None = None
) -> TokenAutomaton:
    return finished(core_of(automaton, vocabulary), max_tokens=max_tokens, follow=follow, encode=encode, named=vocabulary.named)


def _with_space(plain: Residues[RegularResidue], with_space: Adapt | None) -> tuple[list[TextAutomaton], bool]:
    """The residues' automata, and whether all of them have a leading space now: it is skipped for all or for none."""
    automata = [residue.automaton for residue in plain.residues]
    if with_space is None:
        return automata, False
    spaced = [with_space(automaton) for automaton in automata]
    skips = all(new is not old for new, old in zip(spaced, automata, strict=True))
    return (spaced if skips else automata), skips


@contextmanager
def placed(source: Source | None) -> Iterator[None]:
    """Findings that are raised inside show the program they are about."""
    try:
        yield
    except LmqlCompileError as problem:
        if source is None or problem.source is not None or not problem.diagnostics:
            raise
        raise type(problem)(diagnostics=problem.diagnostics, source=source) from None


def text_holds(constraint: c.Constraint, text: str, tokens: int, *, source: Source | None = None) -> bool:
    """Whether a whole text of `tokens` tokens meets a constraint without slots, regular or not. Stops count as true."""
    return text_judge(constraint, source=source)(text, tokens)


def text_judge(constraint: c.Constraint, *, source: Source | None = None) -> Callable[[str, int], bool]:
    """`text_holds` for several texts and one constraint, whose automata are built once."""
    with placed(source):
        rest = typed(split_stops(normalize(constraint))[0])
        externals = external_atoms(rest, is_external)
    built: dict[tuple[bool, ...], TextAutomaton | None] = {}

    def holds(text: str, tokens: int) -> bool:
        with placed(source):
            data = text.encode("utf-8", "surrogatepass")
            values = tuple(_judged(_atom(external, _BYTES), data) for external in externals)
            if values not in built:
                built[values] = _automaton_of(assigned(rest, externals, values, is_external), source)
            automaton = built[values]
            return automaton is not None and _accepts(automaton, text, tokens)

    return holds


def _automaton_of(constraint: c.Constraint, source: Source | None) -> TextAutomaton | None:
    """The automaton of a constraint; None where no text meets it."""
    try:
        return build(constraint, source=source)
    except UnsatisfiableConstraint:
        return None


_BYTES = Vocabulary.build([b"", *(bytes([byte]) for byte in range(256))])
"""A vocabulary of bytes, for judging texts without a model."""


def _judged(atom: TextAtom, data: bytes) -> bool:
    return atom.alive(data) and atom.holds(data)


def _accepts(automaton: TextAutomaton, text: str, tokens: int) -> bool:
    region = int((automaton.token_bounds <= tokens).sum()) - 1
    delta, state = automaton.delta[region % len(automaton.delta)], automaton.start
    for byte in text.encode("utf-8", "surrogatepass"):
        state = int(delta[state, automaton.byte_class[byte]])
    within = automaton.char_limit is None or len(text) <= automaton.char_limit
    return within and remembers(automaton.memory, text) and bool(automaton.accepts[region, state])


def _atom(atom: c.Constraint, vocabulary: Vocabulary) -> TextAtom:
    """The engine or function behind an external atom."""
    if isinstance(atom, c.Custom):
        return CustomAtom(operands.value(atom.function), [operands.value(arg) for arg in atom.args], atom.span)
    from lmqlc.compiler.masks.external import json_engine, lark_engine

    if isinstance(atom, c.Grammar):
        return lark_engine(operands.value(atom.grammar), vocabulary, atom.span)
    if isinstance(atom, c.Json):
        return json_engine(True if atom.schema is None else operands.value(atom.schema), vocabulary, atom.span)
    assert isinstance(atom, c.TypeIs)
    return json_engine(schema_of(operands.value(atom.type), atom.span), vocabulary, atom.span)

"""The entry to masks: any bound constraint over one vocabulary becomes a constraint on tokens.

A regular constraint becomes an exact token automaton. Where a grammar, a schema without a regular form or a Python function takes part,
the formula is taken apart into regular residues and judged beside those (see `combine`).
"""

from __future__ import annotations

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.problems import unsatisfiable
from lmqlc.compiler.masks.atoms import TextAtom
from lmqlc.compiler.masks.combine import Combination, Encode, Parts
from lmqlc.compiler.masks.custom import CustomAtom
from lmqlc.compiler.masks.external import json_engine, lark_engine
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.phrases import PhraseSearch, phrases_of
from lmqlc.compiler.masks.residues import atoms_of, external_atoms, residues_of
from lmqlc.compiler.masks.schemas import schema_of
from lmqlc.compiler.masks.token_automaton import link
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.compiler.passes.stops import split_stops


def is_regular(constraint: c.Constraint) -> bool:
    """Whether `build` alone can hold a constraint, and its masks are exact."""
    return not any(is_external(atom) for atom in atoms_of(constraint))


def is_external(atom: c.Constraint) -> bool:
    """Whether an atom is beyond the regular fragment."""
    return isinstance(atom, c.Json | c.Grammar | c.Custom)


def compose(
    constraint: c.Constraint,
    vocabulary: Vocabulary,
    *,
    max_tokens: int | None = None,
    follow: str | None = None,
    encode: Encode | None = None,
) -> TokenConstraint:
    """The constraint on tokens of a constraint without slots; arguments as for `link`.

    Raises UnsatisfiableConstraint where no text, or none within the budget, can meet it; UnsupportedConstraint and LmqlCompileError for
    what cannot be compiled.
    """
    if is_regular(constraint):
        return link(build(constraint), vocabulary, max_tokens=max_tokens, follow=follow, encode=encode)
    rest, stops = split_stops(normalize(constraint))
    externals = external_atoms(rest, is_external)

    def linked(automaton: TextAutomaton) -> TokenConstraint:
        return link(automaton, vocabulary, max_tokens=max_tokens)

    parts = Parts(
        residues=residues_of(rest, externals, is_external, linked),
        atoms=tuple(_atom(external, vocabulary) for external in externals),
        stops=PhraseSearch(phrases_of(stops)),
        max_tokens=max_tokens,
        follow=follow or "",
        encode=encode,
    )
    combined = Combination(parts, vocabulary)
    if not combined.satisfiable():
        raise unsatisfiable("no text can meet this constraint: nothing can come first", constraint.span, (), None, None)
    return combined


def _atom(atom: c.Constraint, vocabulary: Vocabulary) -> TextAtom:
    """The engine or function behind an external atom."""
    if isinstance(atom, c.Grammar):
        return lark_engine(operands.value(atom.grammar), vocabulary, atom.span)
    if isinstance(atom, c.Json):
        schema = True if atom.schema is None else operands.value(atom.schema)
        known = schema is None or isinstance(schema, bool | dict | str | int | float | list | tuple)
        return json_engine(schema if known else schema_of(schema, atom.span), vocabulary, atom.span)
    assert isinstance(atom, c.Custom)
    return CustomAtom(operands.value(atom.function), [operands.value(arg) for arg in atom.args], atom.span)

"""The IR as text, for `--emit ir` and golden tests: stable, one fact a line."""

from __future__ import annotations

from collections.abc import Iterator

from lmqlc.compiler import constraints as c
from lmqlc.compiler.constraint_parts import is_true
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.grammar.source import Source, Span

_WORDS = {
    c.InSet: "in {options}",
    c.Equals: "== {value}",
    c.Contains: "contains {text}",
    c.StartsWith: "startswith {text}",
    c.EndsWith: "endswith {text}",
    c.TextIs: "{test}",
    c.Matches: "matches {pattern}",
    c.Number: "{kind}",
    c.NumberCompare: "{kind} {op} {bound}",
    c.Count: "{unit} {op} {bound}",
    c.TypeIs: "type is {type}",
    c.Grammar: "grammar {grammar}",
    c.Truth: "{value}",
}


def print_ir(program: Program) -> str:
    """A program's tables; its coroutine is what `emit.python` shows."""
    return "\n".join(_lines(program)) + "\n"


def print_constraint(constraint: c.Constraint) -> str:
    """A constraint tree, one atom a line, indented by depth."""
    return "\n".join(_tree(constraint, 0))


def _lines(program: Program) -> Iterator[str]:
    yield f"program version {program.version}"
    yield f"decoder {program.decoder}"
    for name in program.parameters:
        yield f"parameter {name}"
    for name in program.optional:
        yield f"parameter {name} (optional)"
    for query in program.queries:
        holes = " ".join(map(str, query.holes))
        yield f"query {query.index} at {_place(query.span, program.source)}{f': holes {holes}' if holes else ''}"
    for hole in program.holes:
        yield from _hole(hole, program.source)
    for number, condition in enumerate(program.conditions):
        yield f"condition {number}"
        yield from _tree(condition, 1)


def _place(span: Span, source: Source) -> str:
    (line, column), (end_line, end_column) = source.position(span.start), source.position(span.end)
    return f"{line}:{column}-{end_line}:{end_column}"


def _hole(hole: HoleIR, source: Source) -> Iterator[str]:
    yield f"hole {hole.index} {hole.name} at {_place(hole.span, source)}"
    facts = {"typed": hole.has_type, "distribution": hole.distribution, f"decorators {hole.decorators}": bool(hole.decorators)}
    yield from (f"  {fact}" for fact, holds in facts.items() if holds)
    if hole.follow is not None:
        yield f"  follow {hole.follow!r}"
    for number, slot in enumerate(hole.slots):
        yield f"  slot {number} = {slot}"
    if not is_true(hole.constraint):
        yield "  where"
        yield from _tree(hole.constraint, 2)


def _tree(constraint: c.Constraint, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(constraint, c.And | c.Or):
        yield f"{indent}{'and' if isinstance(constraint, c.And) else 'or'}"
        for arg in constraint.args:
            yield from _tree(arg, depth + 1)
    elif isinstance(constraint, c.Not):
        yield f"{indent}not"
        yield from _tree(constraint.arg, depth + 1)
    else:
        yield indent + _atom(constraint)


def _atom(atom: c.Atom) -> str:
    if isinstance(atom, c.Compared):
        return f"{'' if atom.op in ('==', 'in') else 'value '}{atom.op} {_operand(atom.value)}"
    if isinstance(atom, c.Stop):
        return f"stop {'at' if atom.keep else 'before'} {_operand(atom.phrase)}"
    if isinstance(atom, c.Json):
        return "json" if atom.schema is None else f"json {_operand(atom.schema)}"
    if isinstance(atom, c.Custom):
        return f"custom {_operand(atom.function)}({', '.join(map(_operand, atom.args))})"
    fields = {name: getattr(atom, name) for name in atom.__slots__}
    return _WORDS[type(atom)].format(**{name: _shown(value) for name, value in fields.items()})


def _shown(value: object) -> str:
    return _operand(value) if isinstance(value, c.Const | c.Slot) else str(value)


def _operand(operand: c.Operand) -> str:
    if isinstance(operand, c.Slot):
        return f"slot {operand.index}"
    return operand.value.__name__ if isinstance(operand.value, type) else repr(operand.value)

"""Stages of compilation as text: of a whole program, or of the language of its holes."""

from __future__ import annotations

from difflib import get_close_matches

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.grammar.errors import LmqlError, UnsupportedConstraint

PROGRAM_STAGES = ("ast", "ir", "python")
HOLE_STAGES = {"regex": "#", "ebnf": "#", "gbnf": "#", "lark": "//", "dot": "//"}
"""What a hole's language can be written as, with what begins a comment there."""
STAGES = (*PROGRAM_STAGES, *HOLE_STAGES)


def emit(program: Program, stage: str, hole: str | None = None) -> str:
    """A stage as text; `hole`: of that hole alone, for stages of holes.

    Raises LmqlError for a stage or a hole that there is not, and for a hole whose language has no such form, or is known only when the
    program runs.
    """
    if stage not in STAGES:
        close = get_close_matches(stage, STAGES, 1)
        raise LmqlError(f"there is no stage {stage!r}; " + (f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(STAGES)}"))
    if stage in HOLE_STAGES:
        return _holes(program, stage, hole)
    if hole is not None:
        raise LmqlError(f"the stage {stage!r} is one of the whole program; leave the hole out, or choose from: {', '.join(HOLE_STAGES)}")
    text = _program(program, stage)
    return text if text.endswith("\n") else text + "\n"


def _program(program: Program, stage: str) -> str:
    if stage == "ast":
        from lmqlc.grammar.dump import dump
        from lmqlc.grammar.parse import parse

        return dump(parse(program.source.text, program.source.name))
    if stage == "ir":
        from lmqlc.compiler.ir_print import print_ir

        return print_ir(program)
    from lmqlc.compiler.emit.python import emit_python

    return emit_python(program)


def _holes(program: Program, stage: str, name: str | None) -> str:
    """One hole's text as it is; several with a comment before each, which is all there is for a hole without such a form."""
    holes = [hole for hole in program.holes if name in (None, hole.name)]
    if not holes:
        known = ", ".join(dict.fromkeys(hole.name for hole in program.holes))
        what = "the program has no hole" if name is None else f"the program has no hole {name!r}"
        raise LmqlError(what + (f"; its holes are: {known}" if known else ""))
    if len(holes) == 1:
        return _hole(program, holes[0], stage)
    mark, parts = HOLE_STAGES[stage], []
    for hole in holes:
        line, column = program.source.position(hole.span.start)
        parts.append(f"{mark} {hole.name} at {program.source.name}:{line}:{column}\n")
        try:
            parts.append(_hole(program, hole, stage))
        except (LmqlError, RecursionError) as error:
            parts += [f"{mark}   {line}\n" for line in str(error).splitlines()]
    return "".join(parts)


def _hole(program: Program, hole: HoleIR, stage: str) -> str:
    from lmqlc.compiler.emit.dot import emit_dot
    from lmqlc.compiler.emit.ebnf import emit_ebnf, emit_gbnf, emit_lark
    from lmqlc.compiler.emit.regex import emit_regex

    emitters = {"regex": emit_regex, "ebnf": emit_ebnf, "gbnf": emit_gbnf, "lark": emit_lark, "dot": emit_dot}
    text = emitters[stage](language(program, hole, written=True))
    return text if text.endswith("\n") else text + "\n"


def known_constraint(program: Program, hole: HoleIR) -> Constraint | None:
    """A hole's constraint, its type's condition included; None where it is known only when the program runs."""
    from lmqlc.runtime.link import whole_constraint
    from lmqlc.static_types import static_types

    if hole.slots or hole.distribution:
        return None
    if not hole.has_type:
        return whole_constraint(hole.constraint, (), None)
    types = static_types(program)
    return whole_constraint(hole.constraint, (), types[hole.index]) if hole.index in types else None


def language(program: Program, hole: HoleIR, written: bool = False) -> TextAutomaton:
    """The automaton of a hole's texts. written: with lengths in its states, where that is not too large.

    Raises UnsupportedConstraint where it is known only when the program runs, or not regular.
    """
    from lmqlc.compiler.masks.compose import is_regular
    from lmqlc.runtime.link import Place, text_automaton, written_automaton

    constraint = known_constraint(program, hole)
    if constraint is None:
        waits = ", ".join((*(f"`{slot}`" for slot in hole.slots), *(["its type"] if hole.has_type else [])))
        raise UnsupportedConstraint(f"the language of `{hole.name}` is known when it is reached: it depends on {waits or 'its options'}")
    if not is_regular(constraint):
        reason = "a grammar, a recursive schema or a Python function takes part"
        raise UnsupportedConstraint(f"the language of `{hole.name}` has no automaton: {reason}")
    return (written_automaton if written else text_automaton)(constraint, Place(source=program.source))

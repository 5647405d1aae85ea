"""`lmqlc explain`: what every hole of a program may be filled with, and how that is held."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmqlc.backends.base import Tokenizer
from lmqlc.backends.text import TextAbilities
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.emitting import known_constraint, language
from lmqlc.grammar.errors import LmqlCompileError, LmqlError
from lmqlc.run_command import compiled_query
from lmqlc.runtime.text_likeliest import MOST
from lmqlc.terminal import visible

EXAMPLES = 3
_TRIES = 40
_LONGEST = 120
"""Characters of a pattern or an example that are shown."""


def explain_command(query: str, *, tokenizers: Sequence[str] = (), model: str | None = None, svg: str | None = None) -> None:
    """Print what is known about a program and its holes before it runs; `svg`: also draw their automata; `model`: say how its backend holds
    them. No server is asked."""
    program = compiled_query(query).program
    print("\n".join(explanation(program, tokenizers, abilities_of(model))))
    if svg is not None:
        _draw(program, Path(svg))


def abilities_of(model: str | None) -> TextAbilities | None:
    """What a server that says text is taken to do; None for models whose tokens are masked. Raises LmqlError for a bad model string."""
    from lmqlc.backends.registry import load, parse_model

    spec = parse_model(model) if model else None
    if spec is None or spec.kind in ("local", "demo", "random", "scripted", "server"):
        return None
    return getattr(load(spec), "declared", None)


def explanation(program: Program, tokenizers: Sequence[str] = (), abilities: TextAbilities | None = None) -> Iterator[str]:
    """Lines about a program; `abilities`: of the server that it is to run at."""
    from lmqlc.loaded_tokenizers import loaded_tokenizer

    loaded = {name: loaded_tokenizer(name) for name in tokenizers}
    yield f"decoder: {program.decoder}"
    yield f"arguments: {', '.join(program.parameters) or 'none'}"
    if not program.holes:
        yield "holes: none"
    for hole in program.holes:
        line, column = program.source.position(hole.span.start)
        yield f"\n{hole.name} at {program.source.name}:{line}:{column}"
        for shown in _hole(hole, program, loaded):
            if abilities is not None and shown.startswith("guarantee:"):
                yield f"  {_at_server(hole, program, abilities)}"
            elif abilities is not None and shown.startswith("argmax:      exact"):
                yield f"  {_scored(shown, abilities)}"
            else:
                yield f"  {shown}"


def hole_explanation(hole: HoleIR, program: Program) -> list[str]:
    """Lines about one hole. Raises LmqlError where its language is impossible, or too large to build."""
    return list(_hole(hole, program, {}))


def _hole(hole: HoleIR, program: Program, tokenizers: dict[str, Tokenizer]) -> Iterator[str]:
    from lmqlc.compiler.constraints import TRUE
    from lmqlc.compiler.ir_print import print_constraint
    from lmqlc.compiler.masks.compose import is_regular

    if hole.constraint != TRUE:
        yield from _field("constraint", *print_constraint(hole.constraint).strip("\n").splitlines())
    if hole.follow:
        yield from _field("followed by", repr(hole.follow))
    if hole.distribution:
        yield from _field("guarantee", "exact; the options of its distribution are scored, nothing is decoded")
        return
    constraint = known_constraint(program, hole)
    if constraint is None:
        yield from _field("depends on", *hole.slots, *(["its type"] if hole.has_type else []))
        yield from _field("guarantee", "found when the hole is reached, where these are known")
    elif constraint == TRUE:
        yield from _field("guarantee", "none is needed: the model's own words, up to end-of-text or the budget")
    else:
        try:
            automaton = language(program, hole) if is_regular(constraint) else None
        except LmqlError as problem:
            if not hole.has_type:
                raise
            yield from _field("problem", *str(problem).splitlines())
            return
        if automaton is None:
            reason = "a grammar, a recursive schema or a Python function takes part"
            yield from _field("guarantee", f"checked token by token, not exact: {reason}; the result is checked again at the end")
            yield from _answer(program, None)
        else:
            yield from _regular(hole, constraint, automaton, program, tokenizers)


def _answer(program: Program, automaton: TextAutomaton | None) -> Iterator[str]:
    """How `argmax` finds the text of a hole."""
    from lmqlc.compiler.masks.few_texts import FewTexts, few_texts
    from lmqlc.compiler.record_calls import header_arguments

    if program.decoder != "argmax":
        return
    found = "its texts are not known beforehand" if automaton is None else few_texts(automaton)
    if "greedy" in header_arguments(program.body):
        yield from _field("argmax", "token by token where `greedy` is true, as the header may say")
    elif isinstance(found, FewTexts):
        yield from _field("argmax", f"exact: the likeliest of {_count(len(found.texts), 'text')}")
    else:
        yield from _field("argmax", f"token by token, and not the likeliest text: {found}")


def _scored(shown: str, abilities: TextAbilities) -> str:
    """How a server finds the likeliest of few texts."""
    if not abilities.scores and abilities.level != "delegated":
        (line,) = _field("argmax", f"token by token: {abilities.server} does not score given texts")
        return line
    return f"{shown}, where {abilities.server} can score them: up to {MOST}, after a prompt that is not long; else token by token"


def _at_server(hole: HoleIR, program: Program, abilities: TextAbilities) -> str:
    """How a server holds a hole, or why it cannot."""
    (line,) = _field("guarantee", f"at {abilities.server}, {_held(hole, program, abilities)}")
    return line


def _held(hole: HoleIR, program: Program, abilities: TextAbilities) -> str:
    from lmqlc.runtime.link import Place
    from lmqlc.runtime.text_plan import demand_of, guarantee, plan_of

    if hole.distribution:
        return "the log-probabilities of the options are asked for, where the server gives them"
    constraint = known_constraint(program, hole)
    if constraint is None:
        return f"{abilities.level}, as found when the hole is reached"
    try:
        demand = demand_of(constraint, Place(None, hole.follow, False, program.source))
    except LmqlError as error:
        return f"refused: {error.diagnostics[0].message if error.diagnostics else error.message}"
    return guarantee(demand, plan_of(demand, abilities))


def _regular(
    hole: HoleIR, constraint: Constraint, automaton: TextAutomaton, program: Program, tokenizers: dict[str, Tokenizer]
) -> Iterator[str]:
    from lmqlc.compiler.automata.query import examples, sample

    yield from _field("language", *_pattern(automaton))
    yield from _field("guarantee", "exact masks: every token that can still succeed is allowed, and no other")
    yield from _answer(program, automaton)
    yield from _field("automaton", _size(automaton))
    for name, tokenizer in tokenizers.items():
        yield from _field("tokens", f"{_linked(hole, constraint, program, tokenizer)} ({name})")
    yield from _field("shortest", *map(_shown, examples(automaton, EXAMPLES)))
    rng = random.Random(0)  # noqa: S311 - examples, the same ones every time
    texts = dict.fromkeys(sample(automaton, rng) for _ in range(_TRIES))
    yield from _field("random", *map(_shown, list(texts)[-EXAMPLES:]))


def _field(name: str, *lines: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{'' if number else name + ':':<13}{visible(line)}"


def _shown(text: str) -> str:
    return repr(textwrap.shorten(text, _LONGEST, placeholder="…") if len(text) > _LONGEST and " " in text else text[:_LONGEST])


def _pattern(automaton: TextAutomaton) -> Iterator[str]:
    """The language as a regular expression, where it has one that a person can read."""
    from lmqlc.compiler.emit.regex import emit_regex

    try:
        if automaton.delta.shape[1] <= _LONGEST:
            pattern = emit_regex(automaton)
            if len(pattern) <= _LONGEST:
                yield pattern
    except LmqlCompileError:
        return


def _size(automaton: TextAutomaton) -> str:
    _, states, classes = automaton.delta.shape
    parts = [_count(states, "state"), _count(classes, "byte class")]
    if len(automaton.token_bounds) > 1:
        parts.append(_count(len(automaton.token_bounds), "range") + " of token counts")
    if automaton.char_limit is not None:
        parts.append(f"at most {_count(automaton.char_limit, 'character')}, counted beside the states")
    return ", ".join(parts)


def _count(number: int, what: str) -> str:
    many = what + ("es" if what.endswith("s") else "s")
    return f"{number:,} {what if number == 1 else many}"


def _linked(hole: HoleIR, constraint: Constraint, program: Program, tokenizer: Tokenizer) -> str:
    """The size of a hole's tables over a vocabulary; for vocabularies that cannot write any text, what is wrong."""
    from lmqlc.compiler.masks.store import to_arrays
    from lmqlc.compiler.masks.token_automaton import TokenAutomaton
    from lmqlc.runtime.link import Place, link_text

    try:
        linked = link_text(constraint, tokenizer, Place(follow=hole.follow, source=program.source))
    except LmqlError as error:
        return str(error)
    assert isinstance(linked, TokenAutomaton)
    arrays = to_arrays(linked)
    whole = linked.core.classes.whole
    masks, size = len(arrays["sizes"]), sum(array.nbytes for array in arrays.values())
    parts = [
        _count(whole.classes, "token class") if whole else "token classes found state by state",
        *([_count(masks, "distinct mask")] if masks else []),
        f"{size / 1e6:.2f} MB",
    ]
    return f"{', '.join(parts)}, {_count(len(tokenizer.vocabulary), 'token')}"


def _draw(program: Program, file: Path) -> None:
    """Draw the automata of all holes that have one. Raises LmqlError where none has, or the file cannot be written."""
    from lmqlc.compiler.emit.svg import emit_svg

    drawn: list[tuple[str, TextAutomaton]] = []
    problem: LmqlError | None = None
    for hole in program.holes:
        try:
            drawn.append((hole.name, language(program, hole)))
        except LmqlError as error:
            problem = error
    if not drawn:
        raise problem or LmqlError("the program has no hole to draw")
    try:
        file.write_text(emit_svg(drawn), encoding="utf-8")
    except OSError as error:
        raise LmqlError(f"cannot write {str(file)!r}: {error.strerror or error}") from None

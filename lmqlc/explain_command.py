"""`lmqlc explain`: what every hole of a program may be filled with, and how that is held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.run_command import compiled_query

EXAMPLES = 3
MOST_TEXTS = 20_000
"""Texts that are tried in the search for examples."""


def explain_command(query: str) -> None:
    """Print what is known about a program and its holes before it runs."""
    program = compiled_query(query).program
    print("\n".join(explanation(program)))


def explanation(program: Program) -> Iterator[str]:
    """Lines about a program."""
    yield f"decoder: {program.decoder}"
    yield f"arguments: {', '.join(program.parameters) or 'none'}"
    for hole in program.holes:
        line, column = program.source.position(hole.span.start)
        yield f"\n{hole.name} at {program.source.name}:{line}:{column}"
        yield from (f"  {line}" for line in _hole(hole, program))


def _hole(hole: HoleIR, program: Program) -> Iterator[str]:
    from lmqlc.compiler.constraints import TRUE
    from lmqlc.compiler.ir_print import print_constraint
    from lmqlc.compiler.masks.compose import is_regular
    from lmqlc.runtime.link import Place, text_automaton, whole_constraint
    from lmqlc.runtime.stored import is_static

    for number, line in enumerate(print_constraint(hole.constraint).strip("\n").splitlines()):
        yield f"{'' if number else 'constraint:':<12}{line}"
    if hole.follow:
        yield f"followed by: {hole.follow!r}"
    if hole.distribution:
        yield "guarantee: exact; the options of its distribution are scored, nothing is decoded"
    elif not is_static(hole):
        yield f"known when it is reached: {', '.join((*hole.slots, *(['its type'] if hole.has_type else [])))}"
    else:
        constraint = whole_constraint(hole.constraint, (), None)
        if constraint == TRUE:
            yield "unconstrained: the model's own words, up to end-of-text or the budget"
            return
        if not is_regular(constraint):
            yield "guarantee: checked token by token; not exact, since a grammar, a recursive schema or a Python function takes part"
            return
        yield "guarantee: exact masks"
        yield from _language(text_automaton(constraint, Place(source=program.source)))


def _language(automaton: TextAutomaton) -> Iterator[str]:
    _, states, classes = automaton.delta.shape
    counted = f", {len(automaton.token_bounds)} ranges of token counts" if len(automaton.token_bounds) > 1 else ""
    limit = f", at most {automaton.char_limit} characters" if automaton.char_limit is not None else ""
    yield f"automaton: {states} states, {classes} byte classes{counted}{limit}"
    found = examples(automaton)
    if found:
        yield f"examples: {', '.join(map(repr, found))}"


def examples(automaton: TextAutomaton, count: int = EXAMPLES) -> list[str]:
    """Some of the shortest texts of an automaton, most readable first among equals; texts that a stop ends stand with it."""
    region = len(automaton.token_bounds) - 1 if not automaton.accepts[0].any() else 0
    delta = automaton.delta[region % len(automaton.delta)]
    letters = _readable(automaton)
    found: list[str] = []
    pending = deque([(automaton.start, b"")])
    for _ in range(MOST_TEXTS):
        if not pending or len(found) == count:
            break
        state, text = pending.popleft()
        if automaton.accepts[region, state] or automaton.stops[region, state]:
            found.append(text.decode("utf-8", "replace"))
        pending.extend((int(delta[state, kind]), text + letter) for kind, letter in letters if delta[state, kind])
    return found


def _readable(automaton: TextAutomaton) -> list[tuple[int, bytes]]:
    """A byte for every class, the most readable one; letters and digits first."""
    best: dict[int, tuple[int, int]] = {}
    for byte in range(256):
        character = chr(byte)
        rank = 0 if character.isalnum() and byte < 128 else 1 if 32 < byte < 127 else 2 if byte < 128 else 3
        kind = int(automaton.byte_class[byte])
        best[kind] = min(best.get(kind, (9, 0)), (rank, byte))
    return [(kind, bytes([byte])) for kind, (_, byte) in sorted(best.items(), key=lambda item: item[1])]

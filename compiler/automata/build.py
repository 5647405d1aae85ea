"""From a bound constraint to the automaton of the hole's text."""

from __future__ import annotations

import gc
from dataclasses import replace

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.assemble import assemble
from lmqlc.compiler.automata.atoms import stop_pattern
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.automata.counters import take_counter
from lmqlc.compiler.automata.explore import StopNodes, explore, nearest_end
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.formula import conjuncts, memory, regions
from lmqlc.compiler.automata.limits import MAX_REGIONS, MAX_STATES, LimitExceeded
from lmqlc.compiler.automata.longest import longest_text
from lmqlc.compiler.automata.machine import ending, words
from lmqlc.compiler.automata.problems import TOO_LARGE, error
from lmqlc.compiler.automata.remembered import binding
from lmqlc.compiler.constraint_parts import parts as parts_of
from lmqlc.compiler.passes.conflict import conflict, place
from lmqlc.compiler.passes.fold import fold
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.compiler.passes.stops import split_stops
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.grammar.source import Source, Span

_REASONS = {
    "states": f"it needs more than {MAX_STATES:,} states",
    "regions": f"it tells more than {MAX_REGIONS} ranges of token counts apart",
    "steps": "it takes too many steps to compile",
    "time": "it takes too long to compile",
    "memory": "it needs too much memory to compile",
}


def build(constraint: c.Constraint, *, source: Source | None = None, counters: bool = True, remembers: bool = True) -> TextAutomaton:
    """The automaton of a constraint without slots. counters: a bound on characters may become `char_limit`; else states hold it. remembers:
    long lengths inside types may be left to the memory; else states hold them too.

    Raises UnsatisfiableConstraint where no text meets it (naming the smallest conflicting set of conjuncts), UnsupportedConstraint for
    atoms that are not regular, LmqlCompileError for bad operands and past the bounds of `limits.py`.
    """
    collecting = gc.isenabled()
    gc.disable()  # A collection in the middle of a build looks at every object of the process, and frees nothing of the build.
    try:
        with Expressions() as make:
            return _build(make, constraint, source, counters, remembers)
    except LimitExceeded as limit:
        raise _too_large(_REASONS[limit.what], place(constraint), source) from None
    except RecursionError:
        raise _too_large("it is nested too deeply", place(constraint), source) from None
    except LmqlCompileError as problem:
        if source is None or problem.source is not None:
            raise
        raise type(problem)(diagnostics=problem.diagnostics, source=source) from None
    finally:
        if collecting:
            gc.enable()


def _too_large(reason: str, span: Span | None, source: Source | None) -> LmqlCompileError:
    return error(TOO_LARGE, f"the constraint is too large: {reason}", span, "simplify it, or bound repetitions and counts lower", source)


def _build(make: Expressions, constraint: c.Constraint, source: Source | None, counters: bool, remembers: bool) -> TextAutomaton:
    rest, stops = split_stops(normalize(constraint))
    rest = fold(rest)
    bounds = regions(rest)
    formulas = [conjuncts(make, rest, tokens, source, remembers) for tokens in bounds]
    stop_nodes, phrases = _stops(make, stops, source)
    limit = None
    if counters and _cuts_alike(phrases):
        formulas, limit = take_counter(make, formulas)
    states = explore(make, [make.intersection(parts) for parts in formulas], stop_nodes)
    if states.start == 0 or (limit is not None and nearest_end(states) > limit):
        raise UnsatisfiableConstraint(diagnostics=[conflict(constraint, source)], source=source)
    remembered = memory(rest)
    built = replace(assemble(states, bounds, limit, phrases), spaces_end=_counts_words(rest))
    return replace(built, memory=binding(remembered, longest_text(built))) if remembered else built


def _counts_words(constraint: c.Constraint) -> bool:
    """Words or sentences are counted somewhere in a formula."""
    return any(isinstance(part, c.Count) and part.unit in ("words", "sentences") for part in parts_of(constraint))


def _cuts_alike(phrases: tuple[StopPhrase, ...]) -> bool:
    """Whether every stop cuts off equally many characters. Then a counter of characters beside the states stays exact: what a stop cuts off
    need not count, however many phrases have begun."""
    lengths = {0 if phrase.keep else -1 if phrase.text is None else len(phrase.text) for phrase in phrases}
    return len(lengths) < 2 and -1 not in lengths


def _stops(make: Expressions, stops: tuple[c.Stop, ...], source: Source | None) -> tuple[StopNodes, tuple[StopPhrase, ...]]:
    """The languages of kept and of removed phrases, and all phrases that a text can hold: nothing ever stops at the others."""
    texts: dict[bool, list[str]] = {True: [], False: []}
    patterns: dict[bool, list[Node]] = {True: [], False: []}
    phrases: list[StopPhrase] = []
    for stop in stops:
        for phrase in operands.phrases(operands.value(stop.phrase), stop.span):
            if isinstance(phrase, str):
                if operands.writable(phrase):
                    texts[stop.keep].append(phrase)
                    phrases.append(StopPhrase(stop.keep, phrase))
                continue
            node = stop_pattern(make, phrase, stop, source)
            if node is not make.empty:
                patterns[stop.keep].append(node)
                phrases.append(StopPhrase(stop.keep, None, phrase.pattern, phrase.flags))
    ends = {keep: make.union((ending(make, texts[keep]), make.concat(make.anything, make.union(patterns[keep])))) for keep in (True, False)}
    removed = make.union((words(make, texts[False]), *patterns[False]))
    return StopNodes(ends[True], removed, ends[False]), tuple(phrases)

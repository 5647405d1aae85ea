"""How a server is to hold a hole's constraint: what it is told, and what is checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from lmqlc.backends.base import Level
from lmqlc.backends.text import TextAbilities
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.emit.char_graph import few_texts
from lmqlc.compiler.emit.generation import GenerationGrammar
from lmqlc.compiler.masks.compose import is_regular, typed
from lmqlc.compiler.masks.schemas import close_objects, schema_of
from lmqlc.compiler.passes.fold import fold
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.compiler.passes.stops import split_stops
from lmqlc.compiler.passes.tokens import take_token_limit
from lmqlc.compiler.types import is_plain_text
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.runtime.link import LinkedHole, Place, is_true, link_hole, number_kind, text_automaton, written_automaton
from lmqlc.runtime.text_hole import BYTES

ANSWER = "answer"
"""The key of a wrapped text."""
_FEW = 100
"""Texts that a server is told one by one."""

Way = Literal["free", "grammar", "schema", "checked"]
"""How a hole is held: nothing to hold; the server's own grammar, or its JSON schema; text that is checked as it arrives."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A hole's constraint, before a server is known. rest: without bounds of tokens; limit: the smallest of those. linked: over bytes."""

    rest: c.Constraint
    limit: int | None
    linked: LinkedHole
    place: Place


@dataclass(frozen=True, slots=True)
class TextPlan:
    """What a server is told about a hole. wrapped: by its schema the text is one value of an object, under the key `ANSWER`."""

    way: Way
    level: Level
    grammar: GenerationGrammar | None = None
    schema: dict[str, Any] | None = None
    stops: tuple[str, ...] = ()
    wrapped: bool = False


def demand_of(constraint: c.Constraint, place: Place) -> Demand:
    """What a bound constraint demands of a server that decodes by itself; `place` without a budget.

    Raises UnsupportedConstraint for counts of tokens that no request can hold, and whatever linking raises.
    """
    rest, limit = take_token_limit(normalize(typed(constraint)), place.source)
    linked = link_hole(rest, BYTES, replace(place, budget=None, follow=None))
    if limit is not None and limit < 0:
        raise UnsatisfiableConstraint("no text has fewer than 0 tokens")
    return Demand(rest, limit, linked, place)


def plan_of(demand: Demand, abilities: TextAbilities) -> TextPlan:
    """How a server holds a demand: the strongest way that it can."""
    formula = fold(split_stops(demand.rest)[0])
    if is_true(formula):
        return TextPlan("free", abilities.level, stops=_stops(demand.linked.phrases, abilities))
    schema = _schema(formula) if abilities.schemas else None
    if abilities.level == "delegated":
        grammar = _grammar(demand) if is_regular(demand.rest) else None
        if grammar is not None:
            return TextPlan("grammar", "delegated", grammar)
        if schema is not None and not demand.linked.phrases:
            return TextPlan("schema", "delegated", schema=schema)
    elif schema is not None and not demand.linked.phrases:
        return TextPlan("schema", "checked", schema=schema)
    elif abilities.schemas and not demand.linked.phrases:
        value = _value_schema(demand)
        if value is not None:
            return TextPlan("schema", "checked", schema=_wrapped(value), wrapped=True)
    return TextPlan("checked", "checked")


def opening_of(demand: Demand, tail: str) -> GenerationGrammar:
    """What may be written where nothing is demanded but that it begins with a text."""
    return GenerationGrammar(text_automaton(demand.rest, demand.place), before=tail)


def guarantee(demand: Demand, plan: TextPlan) -> str:
    """A plan in words."""
    bound = "" if demand.limit is None else f"; at most {demand.limit} tokens are asked for"
    if plan.way == "free":
        return f"nothing to hold but the end of the text{bound}"
    if plan.way == "grammar":
        return f"delegated: the server enforces a grammar written for this hole; its text is judged again here{bound}"
    if plan.way == "schema":
        how = "enforces" if plan.level == "delegated" else "is told"
        return f"{plan.level}: the server {how} a JSON schema; its text is judged here{bound}"
    return f"checked: the text is judged as it arrives, cut at the first violation, and asked for again within bounds{bound}"


def _grammar(demand: Demand) -> GenerationGrammar | None:
    """The grammar of a regular constraint; None where it is too large to be written out."""
    written, remembered = written_automaton(demand.rest, demand.place), text_automaton(demand.rest, demand.place)
    for automaton in dict.fromkeys((written, remembered)):
        for counted in (True, False):
            grammar = GenerationGrammar(automaton, demand.place.follow or "", counted=counted)
            try:
                assert grammar.graph
            except LmqlCompileError:
                continue
            return grammar
    return None


def _value_schema(demand: Demand) -> dict[str, Any] | None:
    """The JSON schema of a text that is a number, or one of few; None for other holes."""
    kind = number_kind(demand.rest)
    if kind is not None:
        return {"type": "integer" if kind is int else "number"}
    if not is_regular(demand.rest):
        return None
    try:
        texts = few_texts(text_automaton(demand.rest, replace(demand.place, leading_space=False)), _FEW)
    except LmqlCompileError:
        return None
    return {"type": "string", "enum": texts} if texts else None


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {ANSWER: schema}, "required": [ANSWER], "additionalProperties": False}


def _stops(phrases: tuple[StopPhrase, ...], abilities: TextAbilities) -> tuple[str, ...]:
    """The phrases at which a server may end by itself: any, where it leaves them in its text; else those that are removed, and whose end is
    the end of no other phrase. None that may begin inside of what was taken back from the prompt: the server would end there."""
    found = [phrase.text for phrase in phrases if phrase.text and (abilities.stops_kept or not phrase.keep)]
    found = [text for text in found if not _begins_in(text, abilities.tail)]
    if not abilities.stops_kept:
        if any(phrase.text is None for phrase in phrases):
            return ()
        others = [phrase.text or "" for phrase in phrases]
        found = [text for text in found if not any(other != text and other.endswith(text) for other in others)]
        found = [text for text in found if not any(phrase.keep and phrase.text == text for phrase in phrases)]
    return tuple(dict.fromkeys(found)) if len(found) <= abilities.most_stops else ()


def _begins_in(phrase: str, tail: str) -> bool:
    """Whether a phrase stands in a text, or its beginning at the text's end."""
    return phrase in tail or any(tail.endswith(phrase[:count]) for count in range(1, len(phrase)))


def _schema(formula: c.Constraint) -> dict[str, Any] | None:
    """The JSON schema of a conjunct that says that the text is a JSON object."""
    for part in formula.args if isinstance(formula, c.And) else (formula,):
        found = _schema_of(part)
        if found is not None:
            return found
    return None


def _schema_of(part: c.Constraint) -> dict[str, Any] | None:
    if isinstance(part, c.Json):
        schema = None if part.schema is None else operands.value(part.schema)
        return close_objects(schema) if isinstance(schema, dict) and schema.get("type") == "object" else None
    if not isinstance(part, c.TypeIs) or is_plain_text(operands.value(part.type)):
        return None
    try:
        schema = schema_of(operands.value(part.type), part.span)
    except LmqlCompileError:
        return None
    return _with_object_at_top(schema)


def _with_object_at_top(schema: dict[str, Any]) -> dict[str, Any] | None:
    """A schema whose top is an object, as servers want it; None where it is none."""
    reference = schema.get("$ref", "")
    if not reference:
        return schema if schema.get("type") == "object" else None
    name = reference.rpartition("/")[2]
    definitions = dict(schema["$defs"])
    top = definitions[name]
    return {**top, "$defs": definitions} if top.get("type") == "object" else None

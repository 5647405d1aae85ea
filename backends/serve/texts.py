"""What completions and chats share: the fields that say how a text is decoded, the work that decodes it, and its outcome."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmqlc.backends.base import Logits
from lmqlc.backends.choice import Sampling
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.linker import Linked
from lmqlc.backends.serve.problems import Problem
from lmqlc.backends.serve.served import Ready
from lmqlc.backends.serve.settings import MAX_CHOICES, MAX_MESSAGES, MAX_STOPS
from lmqlc.backends.wire_automaton import MAX_PACKED
from lmqlc.backends.works import HoleWork, biased, top_tokens
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.hole import Budget, HoleRun, TokenResult
from lmqlc.compiler.masks.request import Formula, Language
from lmqlc.grammar.errors import ContextOverflow, UnsatisfiableConstraint

IGNORED = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "stream_options",
    "parallel_tool_calls",
)  # fmt: skip
"""Fields of OpenAI's API that change nothing of what is said."""
_FORMS = ("regex", "choice", "json", "grammar", "automaton")


@dataclass(frozen=True)
class Manner:
    """How a request wants its texts decoded. top: log-probabilities of so many tokens beside each one; None for none at all."""

    sampling: Sampling
    bias: dict[int, float]
    seed: int
    choices: int
    most: int
    stops: tuple[str, ...]
    constraint: c.Constraint | None
    packed: str | None
    stream: bool
    include_usage: bool


def manner_of(fields: Fields, ready: Ready, *, default_most: int) -> Manner:
    """The manner that a request's fields ask for."""
    constraint, packed = _constraint(fields)
    most = fields.whole("max_tokens", default_most, 0, 1 << 20)
    seed = fields.raw("seed")
    options = fields.objects("stream_options")
    return Manner(
        sampling=Sampling(
            temperature=fields.number("temperature", 1.0, 0.0, 100.0),
            top_k=max(0, fields.whole("top_k", 0, -1, 1 << 30)),
            top_p=fields.number("top_p", 1.0, 1e-9, 1.0),
            min_p=fields.number("min_p", 0.0, 0.0, 1.0),
            repetition_penalty=fields.number("repetition_penalty", 1.0, 1e-3, 1e3),
            frequency_penalty=fields.number("frequency_penalty", 0.0, -2.0, 2.0),
            presence_penalty=fields.number("presence_penalty", 0.0, -2.0, 2.0),
        ),
        bias=_bias(fields, ready.width),
        seed=secrets.randbits(63) if seed is None else fields.whole("seed", 0, -(1 << 63), 1 << 64) % (1 << 64),
        choices=fields.whole("n", 1, 1, MAX_CHOICES),
        most=fields.whole("max_completion_tokens", most, 0, 1 << 20),
        stops=_stops(fields),
        constraint=constraint,
        packed=packed,
        stream=fields.flag("stream"),
        include_usage=options is not None and options.flag("include_usage"),
    )


def _bias(fields: Fields, width: int) -> dict[int, float]:
    given = fields.raw("logit_bias")
    if given is None:
        return {}
    bad = fields.bad("logit_bias", "an object of token ids with numbers from -100 to 100")
    if not isinstance(given, dict) or len(given) > width:
        raise bad
    for key, value in given.items():
        fits = isinstance(value, int | float) and not isinstance(value, bool) and -100 <= value <= 100
        if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < width and fits):
            raise bad
    return {int(key): float(value) for key, value in given.items()}


def _stops(fields: Fields) -> tuple[str, ...]:
    given = fields.raw("stop")
    stops = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and 0 < len(s) <= 1000 for s in stops):
        raise fields.bad("stop", f"a string, or a list of at most {MAX_STOPS} strings of at most 1000 characters")
    return tuple(dict.fromkeys(stops))


def _constraint(fields: Fields) -> tuple[c.Constraint | None, str | None]:
    """The constraint of `structured_outputs` or `response_format`; or an automaton's bytes."""
    asked, shape = fields.objects("structured_outputs"), fields.objects("response_format")
    if asked is None:
        return (None if shape is None else _format(shape)), None
    found = [name for name in _FORMS if asked.raw(name) is not None]
    if len(found) != 1:
        raise fields.bad("structured_outputs", f"an object with one of {', '.join(_FORMS)}")
    asked.done()
    name = found[0]
    if name == "automaton":
        return None, asked.text(name, most=2 * MAX_PACKED)
    if name == "json":
        return c.Json(c.Const(_schema(asked.raw(name), asked))), None
    if name == "choice":
        options = asked.raw(name)
        if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
            raise asked.bad(name, "a list of strings")
        return c.InSet(c.Const(tuple(options))), None
    source = c.Const(asked.text(name, most=1 << 17))
    return (c.Matches(source) if name == "regex" else c.Grammar(source)), None


def _schema(value: Any, fields: Fields) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise fields.bad("json", "a JSON schema") from None
    if not isinstance(value, dict | bool):
        raise fields.bad("json", "a JSON schema")
    return value


def _format(shape: Fields) -> c.Constraint | None:
    kind = shape.text("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return c.Json(c.Const({"type": "object"}))
    schema = shape.objects("json_schema")
    if kind != "json_schema" or schema is None:
        raise shape.bad("type", "text, json_object, or json_schema with a json_schema")
    return c.Json(c.Const(_schema(schema.raw("schema"), schema)))


def messages_of(fields: Fields) -> list[dict[str, str]]:
    """The messages of a conversation, each with a role and a text."""
    given = fields.raw("messages")
    if not isinstance(given, list) or not 0 < len(given) <= MAX_MESSAGES:
        raise fields.bad("messages", f"a list of 1 to {MAX_MESSAGES} messages")
    return [_message(Fields(message, at=f"messages.{i}")) for i, message in enumerate(given)]


def _message(fields: Fields) -> dict[str, str]:
    role, content = fields.text("role", most=100), fields.raw("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise fields.bad("content", "a text, or a list of parts of type text")
        content = "".join(map(str, parts))
    if role is None or not isinstance(content, str):
        raise fields.bad("content" if role else "role", "a text")
    if any(fields.raw(name) for name in ("tool_calls", "function_call", "tool_call_id")):
        raise fields.bad("tool_calls", "left out: tools are not called here", "unsupported_parameter")
    return {"role": {"developer": "system"}.get(role, role), "content": content}


async def linked_for(manner: Manner, ready: Ready, budget: int) -> Linked | None:
    """The constraint on tokens of a request; stop phrases are judged by it where there is one. Where no text fits the budget, it is the one
    without: as much of a text is said as fits."""
    if manner.packed is not None:
        try:
            packed = base64.b64decode(manner.packed, validate=True)
        except (binascii.Error, ValueError):
            raise Problem(400, "`structured_outputs.automaton` must be base64", param="structured_outputs") from None
        if manner.stops:
            raise Problem(400, "`stop` cannot stand beside an automaton: it has its own stops", param="stop")
        name = await ready.linker.run(lambda: _name_of(packed))
        return await _linked(ready, name, await ready.linker.received(name, packed), budget)
    if manner.constraint is None:
        return None
    constraint = manner.constraint
    if manner.stops:
        constraint = c.And((constraint, c.Stop(c.Const(list(manner.stops)), keep=False)))
    return await _linked(ready, repr(constraint), Formula(constraint), budget)


async def _linked(ready: Ready, name: str, language: Language, budget: int) -> Linked:
    try:
        return await ready.linker.link(name, language, budget, None)
    except UnsatisfiableConstraint:
        return await ready.linker.link(name, language, None, None)


def _name_of(packed: bytes) -> str:
    import hashlib
    import zlib

    from lmqlc.backends.wire_automaton import MAX_BYTES

    try:
        return hashlib.sha256(zlib.decompressobj().decompress(packed, MAX_BYTES + 1)).hexdigest()
    except zlib.error:
        return ""


def budget_for(ready: Ready, prompt: Sequence[int], most: int) -> int:
    """Tokens that a text may have after a prompt. Raises ContextOverflow where the context is full."""
    context = ready.backend.context_length
    if context is None:
        return most
    if len(prompt) + min(most, 1) > context:
        raise ContextOverflow(f"the prompt is {len(prompt)} tokens long, and the model's context holds {context}")
    return min(most, context - len(prompt))


@dataclass(frozen=True, slots=True)
class Said:
    """A token of a text: what it adds for certain, and the likeliest tokens in its place."""

    token: TokenResult
    top: list[tuple[int, float]] = field(default_factory=list)


class TextWork(HoleWork):
    """The decoding of one text; its events are `Said`, then None. stops: phrases that end a text without a constraint."""

    def __init__(self, hole: HoleRun, prompt: Sequence[int], manner: Manner, seed: Sequence[int], top: int, stops: Sequence[str]) -> None:
        super().__init__(hole, prompt, manner.sampling, seed)
        self._bias = manner.bias
        self._top = top
        self._stops = [stop.encode() for stop in stops]

    def ended(self) -> Any:
        return None

    def scores(self, row: Logits) -> Logits:
        return biased(super().scores(row), self._bias)

    def told(self, token: TokenResult, row: Logits | None) -> None:
        top = [(token.id, token.logprob)] if row is None else top_tokens(row, self._top)
        self.events.append(Said(token, top if self._top else []))
        if self._stops and self.hole.reason in (None, "budget", "length"):
            self._look_for_stop(len(self.hole.vocabulary.tokens[token.id]))

    def _look_for_stop(self, fresh: int) -> None:
        data = self.hole.data()
        begin = max(0, len(data) - fresh - max(map(len, self._stops)))
        found = [at for stop in self._stops if (at := data.find(stop, begin)) >= 0]
        if found:
            self.hole.conclude("stop", len(data) - min(found))


async def text_work(
    ready: Ready, prompt: Sequence[int], manner: Manner, linked: Linked | None, budget: int, place: tuple[int, int], top: int
) -> tuple[TextWork, tuple[StopPhrase, ...]]:
    """The work for one text, and the stop phrases that are not shown. place: of the prompt in its request, and of the choice."""
    constraint, phrases = (None, ()) if linked is None else linked
    vocabulary = ready.tokenizer.vocabulary
    hole = await ready.linker.begin(
        constraint, lambda: HoleRun("TEXT", vocabulary, constraint, Budget(budget, "budget"), phrases, partial=True)
    )
    stops = manner.stops if linked is None else ()
    shown = tuple(StopPhrase(False, stop) for stop in stops) or phrases
    return TextWork(hole, prompt, manner, (manner.seed, *place), top, stops), shown


def finish_reason(hole: HoleRun) -> str:
    """Why a text ended, in OpenAI's words: the length also where a whole text is what it is for want of tokens."""
    return "length" if hole.squeezed or hole.reason in ("budget", "length", None) else "stop"


def finite(logprob: float) -> float:
    """A log-probability as OpenAI's API writes it: -9999 for what cannot be."""
    return logprob if logprob > -9999.0 else -9999.0


def token_text(data: bytes) -> str:
    """A token as a string that no other token has: bytes that are no text in OpenAI's notation."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

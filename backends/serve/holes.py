"""Our own wire, version 1: one request for each hole. `docs/serving.md` describes it; `lmqlc.backends.http` is its client.

GET  /lmqlc/v1/model       what is served, and the fingerprint of its vocabulary
GET  /lmqlc/v1/tokenizer   the tokenizer (`lmqlc.backends.tokenizer_bundle`)
POST /lmqlc/v1/hole        a hole; the answer is lines of JSON, as tokens come
POST /lmqlc/v1/logits      next-token logits after id sequences: float32, little-endian, row after row
POST /lmqlc/v1/score       natural log-probabilities of options after a prompt
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lmqlc.backends.base import SessionUsage
from lmqlc.backends.choice import Sampling
from lmqlc.backends.serve.answers import Stream, answer, attended, dumps, read_json
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.linker import Linked
from lmqlc.backends.serve.problems import Problem
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.serve.settings import HEARTBEAT, MAX_OPTIONS, MAX_ROWS, MAX_SEQUENCES
from lmqlc.backends.ticket import Ticket
from lmqlc.backends.tokenizer_bundle import BundleFile
from lmqlc.backends.wire_automaton import MAX_PACKED, unpack_formula
from lmqlc.backends.works import HoleWork, LogitsWork, ScoreWork
from lmqlc.compiler.masks.heal import taken_back
from lmqlc.compiler.masks.hole import Budget, HoleRun
from lmqlc.compiler.masks.likeliest import is_empty, text_tree
from lmqlc.compiler.masks.request import Ended, Formula, Healed
from lmqlc.grammar.errors import ContextOverflow

PROTOCOL = 1
MAX_BUDGET = 1 << 20
MAX_SEQUENCE = 1 << 20
_NOTHING: Linked | None = None


def routes(served: Served) -> list[BaseRoute]:
    """The routes of the wire."""
    wire = Wire(served)
    return [
        Route("/lmqlc/v1/model", wire.model, methods=["GET"]),
        Route("/lmqlc/v1/tokenizer", wire.tokenizer, methods=["GET"]),
        Route("/lmqlc/v1/hole", wire.hole, methods=["POST"]),
        Route("/lmqlc/v1/logits", wire.logits, methods=["POST"]),
        Route("/lmqlc/v1/score", wire.score, methods=["POST"]),
    ]


class Wire:
    """The wire of one served model."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._bundle: BundleFile | None = None

    async def model(self, request: Request) -> Response:
        ready = self._served.ready()
        return answer({
            "protocol": PROTOCOL,
            "version": self._served.settings.version,
            "names": list(self._served.settings.names),
            "context_length": ready.backend.context_length,
            "fingerprint": ready.tokenizer.vocabulary.fingerprint,
            "bundle": self._bundled(ready).name,
            "exact": True,
        })  # fmt: skip

    async def tokenizer(self, request: Request) -> Response:
        bundle = self._bundled(self._served.ready())
        return Response(bundle.data, headers={"etag": f'"{bundle.name}"'}, media_type="application/octet-stream")

    def _bundled(self, ready: Ready) -> BundleFile:
        if self._bundle is None:
            self._bundle = BundleFile.of(ready.tokenizer)
        return self._bundle

    async def _fields(self, request: Request) -> tuple[Ready, Fields, float]:
        """The loaded model, a request's fields, and its deadline in seconds."""
        ready = self._served.ready()
        fields = Fields(await read_json(request, self._served.settings.body))
        if fields.whole("protocol", PROTOCOL, 0, 1 << 30) != PROTOCOL:
            raise Problem(
                400, f"this server speaks version {PROTOCOL} of the protocol (lmqlc {self._served.settings.version})", "protocol_version"
            )
        self._served.check_model(fields.text("model", most=1000))
        most = self._served.settings.seconds
        return ready, fields, min(most, fields.number("deadline", most, 0.001, 1e9))

    async def hole(self, request: Request) -> Response:
        started = time.perf_counter()
        ready, fields, deadline = await self._fields(request)
        work, chunk = await self._work(ready, fields)
        ticket = ready.scheduler.submit(work, client=request.client, deadline=deadline)
        parts = self._lines(ticket, work, chunk, started)
        return Stream(parts, media_type="application/x-ndjson", cancel=ticket.cancel, trouble=lambda problem: dumps(problem.body()) + b"\n")

    async def _work(self, ready: Ready, fields: Fields) -> tuple[HoleWork, int]:
        """A hole's work, and how many tokens are sent together."""
        name = fields.text("name", "HOLE", most=1000)
        prompt = _ids(fields, "prompt", ready)
        budget = fields.whole("budget", 0, 1, MAX_BUDGET) if fields.raw("budget") is not None else 0
        if not prompt or not budget:
            raise fields.bad("budget" if prompt else "prompt", "given")
        seed = fields.raw("seed") or [0]
        if not isinstance(seed, list) or len(seed) > 8 or any(type(n) is not int or not 0 <= n < 1 << 128 for n in seed):
            raise fields.bad("seed", "a list of at most 8 whole numbers")
        sampling = _sampling(fields.objects("sampling") or Fields({}))
        follow = fields.text("follow", most=1 << 16)
        known = fields.ids("known", most=budget + 1, width=ready.width)
        chunk = fields.whole("chunk", 1, 1, 1 << 16)
        healable = fields.whole("healable", 0, 0, max(0, len(prompt) - 1))
        context = ready.backend.context_length
        if context is not None and len(prompt) + budget > context:
            raise ContextOverflow(f"{len(prompt)} tokens and {budget} more do not fit the model's context of {context} tokens")
        vocabulary = ready.tokenizer.vocabulary
        heal = Healed(*taken_back(vocabulary, prompt[len(prompt) - healable :])) if healable else Healed(0, b"")
        linked = await self._linked(ready, fields, budget, follow, heal.text)
        exact = fields.flag("exact")
        fields.done()
        constraint, phrases = (None, ()) if linked is None else linked
        hole = await ready.linker.begin(
            constraint, lambda: HoleRun(name or "", vocabulary, constraint, Budget(budget, "budget"), phrases, heal.text)
        )
        tree = await ready.linker.run(lambda: text_tree(hole)) if exact and sampling.temperature == 0 else None
        hole.exact = exact and is_empty(hole)
        return HoleWork(hole, prompt, sampling, seed, known, heal, tree), chunk

    async def _linked(self, ready: Ready, fields: Fields, budget: int, follow: str | None, before: bytes) -> Linked | None:
        """The constraint of a hole: an automaton by its name, with its bytes where the server did not know it; or a formula."""
        name, packed = fields.text("automaton", most=64), fields.text("packed", most=2 * MAX_PACKED)
        formula, leading = fields.raw("formula"), fields.flag("leading_space")
        if formula is not None:
            language = Formula(unpack_formula(formula), leading)
            return await ready.linker.link((json.dumps(formula, sort_keys=True), leading), language, budget, follow, before)
        if name is None:
            return _NOTHING
        automaton = ready.linker.known(name)
        if automaton is None:
            if packed is None:
                raise Problem(409, "the automaton is not known here: send its bytes too", "unknown_automaton")
            automaton = await ready.linker.received(name, _bytes(fields, packed))
        return await ready.linker.link(name, automaton, budget, follow, before)

    async def _lines(self, ticket: Ticket, work: HoleWork, chunk: int, started: float) -> AsyncIterator[bytes]:
        """Lines: `{"t": [[id, log-probability, forced], …]}` for tokens, signs of life while there are none, then the end."""
        waiting: list[Any] = []
        count, told, judged = 0, False, 0
        while (events := await ticket.next(HEARTBEAT)) != []:
            if events is None and work.judged > judged:
                judged = work.judged
                yield dumps({"judged": judged}) + b"\n"
                continue
            if events is None:
                yield b"\n" if ticket.admitted else b'{"queued":true}\n'
                continue
            for event in events:
                if isinstance(event, Healed):
                    yield dumps({"healed": event.count, "text": base64.b64encode(event.text).decode()}) + b"\n"
                    continue
                if isinstance(event, Ended):
                    if waiting:
                        yield _tokens(waiting)
                    self._served.metrics.decoded(len(work.prompt), count)
                    said = {name: True for name in ("exact", "squeezed") if getattr(event, name)}
                    yield dumps({"end": event.reason, "cut": event.cut, **said, "usage": _usage(work.usage)}) + b"\n"
                    return
                if not count:
                    self._served.metrics.first_token.add(time.perf_counter() - started)
                count += 1
                logprob = event.logprob if math.isfinite(event.logprob) else None  # JSON has no infinity
                waiting.append([event.id, logprob, 1] if event.forced else [event.id, logprob])
            if len(waiting) >= chunk:
                yield _tokens(waiting)
                waiting = []
                if work.hole.squeezed and not told:
                    told = True
                    yield b'{"squeezed":true}\n'  # now: whoever takes a broken stream up again has no other way to know

    async def logits(self, request: Request) -> Response:
        ready, fields, deadline = await self._fields(request)
        given = fields.raw("sequences")
        if not isinstance(given, list) or len(given) > min(MAX_SEQUENCES, max(1, MAX_ROWS // ready.width)):
            raise fields.bad("sequences", f"a list of at most {MAX_SEQUENCES} lists of token ids")
        sequences = [_checked(fields.as_ids("sequences", one, most=MAX_SEQUENCE, width=ready.width), ready) for one in given]
        fields.done()
        work = LogitsWork(sequences)
        ticket = ready.scheduler.submit(work, client=request.client, deadline=deadline)
        events = await attended(request, [ticket], ticket.all())
        rows = events[0] if events else np.empty((0, ready.width), np.float32)
        headers = {"x-lmqlc-usage": ",".join(map(str, _usage(work.usage)))}
        return Response(rows.astype("<f4", copy=False).tobytes(), headers=headers, media_type="application/octet-stream")

    async def score(self, request: Request) -> Response:
        ready, fields, deadline = await self._fields(request)
        work = _score_work(ready, fields)
        fields.done()
        ticket = ready.scheduler.submit(work, client=request.client, deadline=deadline)
        events = await attended(request, [ticket], ticket.all())
        return answer({"scores": [_finite(row.tolist()) for row in events[0]], "usage": _usage(work.usage)} if events else {})


def _tokens(waiting: list[Any]) -> bytes:
    """The line of some tokens; that of a single one, which is the usual case, without the encoder."""
    if len(waiting) == 1 and len(waiting[0]) == 2 and waiting[0][1] is not None:
        return b'{"t":[[%d,%a]]}\n' % (waiting[0][0], waiting[0][1])
    return dumps({"t": waiting}) + b"\n"


def _score_work(ready: Ready, fields: Fields) -> ScoreWork:
    prompt = _ids(fields, "prompt", ready)
    if not prompt:
        raise fields.bad("prompt", "given")
    start, given = fields.raw("start"), fields.raw("options")
    if start is not None:
        return ScoreWork(prompt, start=fields.whole("start", 1, 1, len(prompt)))
    if not isinstance(given, list) or len(given) > MAX_OPTIONS:
        raise fields.bad("options", f"a list of at most {MAX_OPTIONS} lists of token ids")
    options = [fields.as_ids("options", one, most=MAX_SEQUENCE, width=ready.width) for one in given]
    for option in options:
        _checked([*prompt, *option], ready)
    if sum(map(len, options)) > MAX_SEQUENCE:
        raise fields.bad("options", f"at most {MAX_SEQUENCE} tokens in all")
    return ScoreWork(prompt, options)


def _finite(values: list[float]) -> list[float | None]:
    """JSON has no infinity: null stands for the log-probability of what cannot be."""
    return [value if value - value == 0 else None for value in values]


def _ids(fields: Fields, name: str, ready: Ready) -> list[int]:
    ids = fields.ids(name, most=MAX_SEQUENCE, width=ready.width)
    return _checked(ids, ready) if ids else ids


def _checked(ids: list[int], ready: Ready) -> list[int]:
    context = ready.backend.context_length
    if not ids:
        raise Problem(400, "a sequence has at least one token")
    if context is not None and len(ids) > context:
        raise ContextOverflow(f"{len(ids)} tokens do not fit the model's context, which is {context} tokens")
    return ids


def _bytes(fields: Fields, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise fields.bad("packed", "base64") from None


def _sampling(fields: Fields) -> Sampling:
    sampling = Sampling(
        temperature=fields.number("temperature", 0.0, 0.0, 1e6),
        top_k=fields.whole("top_k", 0, 0, 1 << 30),
        top_p=fields.number("top_p", 1.0, 1e-12, 1.0),
        min_p=fields.number("min_p", 0.0, 0.0, 1.0),
        repetition_penalty=fields.number("repetition_penalty", 1.0, 1e-6, 1e6),
        frequency_penalty=fields.number("frequency_penalty", 0.0, -1e6, 1e6),
        presence_penalty=fields.number("presence_penalty", 0.0, -1e6, 1e6),
    )
    fields.done()
    return sampling


def _usage(usage: SessionUsage) -> tuple[int, int, int]:
    return usage.forward_passes, usage.tokens_computed, usage.tokens_reused

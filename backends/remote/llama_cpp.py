"""llama.cpp's own server: `/completion` with a grammar in GBNF. Fields as in its README of autumn 2026.

Its defaults are not greedy, so every field of sampling is sent. A plain prompt is tokenised by the server first, without reading special
tokens into it; a conversation is written out by the server's template, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.dialect import Dialect
from lmqlc.backends.remote.wire import Body, sampling_fields, spelled
from lmqlc.backends.text import TextAbilities, TextPiece, TextPrompt, TextRequest, TextToken, TextUsage

_NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_OFF: Body = {
    "typical_p": 1.0,
    "dynatemp_range": 0.0,
    "dry_multiplier": 0.0,
    "xtc_probability": 0.0,
    "mirostat": 0,
    "repeat_last_n": -1,
}
"""Ways to sample that programs do not have, switched off; penalties look at all of the context."""
_FORCE = 1_000.0
"""A bias that no logit reaches."""


class LlamaCppDialect(Dialect):
    """The model of a `llama-server`."""

    server = "llama.cpp"

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        return TextAbilities(self.server, "delegated", schemas=True, stops_kept=True, alternatives=20, bias=1_024)

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        body: Body = {"model": self.model, "prompt": await self._prompt(client, request.prompt), "n_predict": request.max_tokens}
        body |= {**_OFF, **sampling_fields(request, _NAMES), "seed": -1 if request.seed is None else request.seed}
        body |= {"stream": True, "cache_prompt": True, "return_tokens": True, "n_probs": max(1, request.alternatives)}
        body["stop"] = list(request.stops)
        if request.bias:
            body["logit_bias"] = [[token, bias] for token, bias in request.bias.items()]
        if request.grammar is not None:
            body["grammar"] = request.grammar.gbnf()
        elif request.schema is not None:
            body["json_schema"] = dict(request.schema)
        return f"{client.server.root}/completion", self.finished(body)

    def piece(self, event: Body, url: str) -> TextPiece:
        text = spelled({"token": event.get("content", 0)})
        if not event.get("stop"):
            return TextPiece(_tokens(event, text))
        kind = event.get("stop_type")
        if kind == "word":
            text += str(event.get("stopping_word") or "")
        usage = TextUsage(_number(event, "tokens_evaluated"), _reused(event), _number(event, "tokens_predicted"))
        return TextPiece(_tokens(event, text), "length" if kind == "limit" else "stop", usage)

    async def _prompt(self, client: Client, prompt: TextPrompt) -> str | list[int]:
        if not prompt.turns:
            return await self._ids(client, prompt.text, special=True)
        turns = prompt.turns[:-1] if prompt.turns[-1][0] == "assistant" else prompt.turns
        body = {"messages": [{"role": role, "content": content} for role, content in turns]}
        found = await client.post(f"{client.server.root}/apply-template", body, seconds=30.0)
        if not isinstance(found, dict) or not isinstance(found.get("prompt"), str):
            raise client.malformed(found)
        return str(found["prompt"]) + (prompt.begun if len(turns) < len(prompt.turns) else "")

    async def _ids(self, client: Client, text: str, *, special: bool) -> list[int]:
        body = {"content": text, "add_special": special, "parse_special": False}
        found = await client.post(f"{client.server.root}/tokenize", body, seconds=30.0)
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise client.malformed(found)
        return tokens

    async def score(self, client: Client, prompt: TextPrompt, options: Sequence[str]) -> list[list[TextToken]]:
        """Token by token: each is forced by a bias, and the server says how likely the model found it without."""
        head = await self._prompt(client, prompt)
        rows = []
        for option in options:
            tail, row = await self._ids(client, option, special=False), []
            for place, token in enumerate(tail):
                before: Any = [*head, *tail[:place]] if isinstance(head, list) else [head, *tail[:place]]
                row.append(await self._score(client, before, token))
            rows.append(row)
        return rows

    async def _score(self, client: Client, before: Any, token: int) -> TextToken:
        body: Body = {**_OFF, "model": self.model, "prompt": before, "n_predict": 1, "n_probs": 1, "cache_prompt": True, "stream": False}
        body |= {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0, "logit_bias": [[token, _FORCE]]}
        answer = await client.post(f"{client.server.root}/completion", self.finished(body), seconds=600.0)
        reports = answer.get("completion_probabilities") if isinstance(answer, dict) else None
        report = reports[0] if isinstance(reports, list) and reports else None
        if not isinstance(report, dict) or report.get("id") != token or not isinstance(report.get("logprob"), int | float):
            raise client.malformed(answer)
        return TextToken(spelled(report), token, float(report["logprob"]))


def _tokens(event: Body, text: str) -> tuple[TextToken, ...]:
    """The tokens of an event, with log-probabilities where they are given."""
    reports = [report for report in event.get("completion_probabilities") or () if isinstance(report, dict)]
    found = []
    for report in reports:
        others = [other for other in report.get("top_logprobs") or () if isinstance(other, dict)]
        alternatives = tuple((spelled(other), float(other["logprob"])) for other in others if isinstance(other.get("logprob"), int | float))
        score = report.get("logprob")
        found.append(TextToken(spelled(report), report.get("id"), float(score) if isinstance(score, int | float) else None, alternatives))
    if found and "".join(token.text for token in found) == text:
        return tuple(found)
    ids = event.get("tokens")
    number = ids[0] if isinstance(ids, list) and len(ids) == 1 else None
    score = found[0].logprob if len(found) == 1 else None
    return (TextToken(text, number, score),) if text else ()


def _number(event: Body, name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _reused(event: Body) -> int:
    timings = event.get("timings")
    return _number(timings, "cache_n") if isinstance(timings, dict) else 0

"""llama.cpp's own server: `/completion` with a grammar in GBNF. Fields, bounds and answers as those of build 11549 (September 2026), which
the tests marked `real` run.

Its defaults are not greedy, and whoever starts it may set others: `/props` says what they are, and every field that is to be different is
sent. The prompt travels as token ids, so that special tokens in a text stay text; a conversation is written out by the server's template.
Phrases that stop are not sent: where an answer reaches its length, this server keeps back what could have become one, and never says it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from lmqlc.backends.remote.client import Client, Refused
from lmqlc.backends.remote.tokens import TokenDialect
from lmqlc.backends.remote.wire import Body, sampling_fields, spelled
from lmqlc.backends.text import TextAbilities, TextPiece, TextPrompt, TextRequest, TextToken, TextUsage
from lmqlc.grammar.errors import ContextOverflow, LmqlError

_NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]
"""What changes the model's choice, in the order that programs mean. The server's own order takes the temperature last, so that it cuts
other tokens; and it has ways to sample that programs do not have."""
_OFF: Body = {"samplers": _SAMPLERS, "dynatemp_range": 0.0, "mirostat": 0}
_AT_RANDOM = 2**32 - 1
"""The seed that stands for none."""
_FORCE = 1_000.0
"""A bias that no logit reaches."""
_LEAST = -1e30
"""Log-probabilities below it stand for a probability that the server has rounded to nothing."""
_CHATML = "{{-'<|im_start|>'+message.role+''+message.content+'<|im_end|>'-}}"
"""The heart of the template that the server takes where the model has none, without white space and line ends."""


class LlamaCppDialect(TokenDialect):
    """The model of a `llama-server`."""

    server = "llama.cpp"
    masks_scores = False

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = ()) -> None:
        super().__init__(model, extra, omitted)
        self._properties: Body | None = None
        self._has_template: bool | None = None

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        ids, room = await self._prompt(client, prompt), None
        context = await self._window(client)
        if context is not None:
            room = context - len(ids)
            if room <= 0:
                raise ContextOverflow(
                    f"the prompt is {len(ids)} tokens long, and {self.model} at llama.cpp takes {context}; "
                    "shorten the prompt, or start the server with a larger --ctx-size (it is shared by all slots)"
                )
        return TextAbilities(
            self.server, "delegated", schemas=True, stops_kept=True, most_stops=0, alternatives=20, bias=1_024, room=room, scores=True
        )

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        body: Body = {"model": self.model, "prompt": await self._prompt(client, request.prompt), "n_predict": request.max_tokens}
        body |= await self._sampling(client, request)
        body |= {"stream": True, "cache_prompt": True, "return_tokens": True, "n_probs": max(1, request.alternatives)}
        if request.bias:
            body["logit_bias"] = [[token, bias] for token, bias in request.bias.items()]
        if request.grammar is not None:
            body["grammar"] = request.grammar.gbnf()
        elif request.schema is not None:
            body["json_schema"] = dict(request.schema)
        return f"{client.server.root}/completion", self.finished(body)

    def reader(self, url: str) -> Callable[[Body], TextPiece]:
        return _Events().piece

    async def _sampling(self, client: Client, request: TextRequest) -> Body:
        """The fields of sampling that are not the server's defaults already."""
        wanted: Body = {**_OFF, **sampling_fields(request, _NAMES), "seed": _AT_RANDOM if request.seed is None else request.seed}
        context = await self._window(client)
        if request.sampling.has_penalties and context is not None:
            wanted["repeat_last_n"] = context  # all of the text; what the server takes for that differs between versions
        settings = (await self._props(client)).get("default_generation_settings")
        known = settings.get("params") if isinstance(settings, dict) else None
        defaults = known if isinstance(known, dict) else {}
        return {name: value for name, value in wanted.items() if name not in defaults or not _same(defaults[name], value)}

    # What the server says of itself

    async def _props(self, client: Client) -> Body:
        if self._properties is None:
            found: Any = {}
            for query in ("", f"?model={quote(self.model, safe='')}"):  # a server of several models wants to know which
                try:
                    found = await client.get(f"{client.server.root}/props{query}")
                except Refused:
                    continue
                if isinstance(found, dict) and "default_generation_settings" in found:
                    break
            self._properties = found if isinstance(found, dict) else {}
        return self._properties

    async def _window(self, client: Client) -> int | None:
        """How many tokens prompt and answer may have together; None where the server does not say."""
        settings = (await self._props(client)).get("default_generation_settings")
        return (_number(settings, "n_ctx") or None) if isinstance(settings, dict) else None

    # Prompts

    async def _prompt(self, client: Client, prompt: TextPrompt) -> list[int]:
        ids = await self.ids(client, prompt)
        if not ids:
            raise LmqlError(f"the prompt is empty, and {self.model} has no token that a text could start from; write some text first")
        return ids

    async def whole(self, client: Client, prompt: TextPrompt) -> list[int]:
        """The ids of a prompt; those of a conversation as the server's template writes it. Raises LmqlError where it has none."""
        if not prompt.turns:
            return await self._tokens(client, prompt.text, first=True)
        if not await self._templated(client):
            raise LmqlError(
                f"the program uses chat roles, but {self.model} at {self.server} has no chat template (the server would write ChatML, "
                "which it was not made for); choose a chat model, start the server with --chat-template, or write the turns as plain text"
            )
        turns = prompt.turns[:-1] if prompt.turns[-1][0] == "assistant" else prompt.turns
        body = {"messages": [{"role": role, "content": content} for role, content in turns]}
        found = await client.post(f"{client.server.root}/apply-template", body, seconds=30.0)
        if not isinstance(found, dict) or not isinstance(found.get("prompt"), str):
            raise client.malformed(found)
        head = await self._tokens(client, found["prompt"], first=True, special=True)
        return head + await self.fragment(client, prompt.begun if len(turns) < len(prompt.turns) else "")

    async def _templated(self, client: Client) -> bool:
        """Whether the model has a chat template. Where it has none the server says that it has one: ChatML, which is believed of models
        that have ChatML's tokens only."""
        if self._has_template is None:
            template = (await self._props(client)).get("chat_template")
            written = "".join(template.replace("\\n", "").split()) if isinstance(template, str) else ""
            self._has_template = _CHATML not in written or len(await self._tokens(client, "<|im_start|>", special=True)) == 1
        return self._has_template

    async def encode(self, client: Client, text: str) -> list[int]:
        return await self._tokens(client, text)

    async def _tokens(self, client: Client, text: str, *, first: bool = False, special: bool = False) -> list[int]:
        """A text as the server's tokenizer writes it. first: with what it puts before a text. special: special tokens are read as such."""
        body = {"content": text, "add_special": first, "parse_special": special}
        found = await client.post(f"{client.server.root}/tokenize", body, seconds=30.0)
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise client.malformed(found)
        return tokens

    async def decode(self, client: Client, ids: Sequence[int]) -> str:
        found = await client.post(f"{client.server.root}/detokenize", {"tokens": list(ids)}, seconds=30.0)
        if not isinstance(found, dict) or not isinstance(found.get("content"), str):
            raise client.malformed(found)
        return str(found["content"])

    # Scores

    async def score_ids(self, client: Client, prompt: Sequence[int], rows: Sequence[Sequence[int]]) -> list[list[TextToken]]:
        """Each row is forced by a grammar of its token ids, and the server says how likely the model found them without it."""
        return [await self._score(client, prompt, row) if row else [] for row in rows]

    async def _score(self, client: Client, prompt: Sequence[int], row: Sequence[int]) -> list[TextToken]:
        grammar = "root ::= " + " ".join(f"<[{token}]>" for token in row)
        try:
            return await self._forced(client, prompt, row, {"grammar": grammar})
        except Refused as refused:
            if "grammar" not in refused.reason:
                raise
        found: list[TextToken] = []  # a server from before grammars could name tokens
        for place, token in enumerate(row):
            found += await self._forced(client, [*prompt, *row[:place]], [token], {})
        return found

    async def _forced(self, client: Client, prompt: Sequence[int], row: Sequence[int], fields: Body) -> list[TextToken]:
        """A row's tokens where the server is made to say them: a bias puts them before all others, so that the grammar has little to do."""
        body: Body = {"model": self.model, "prompt": list(prompt), "n_predict": len(row), "n_probs": 1, "cache_prompt": True}
        body |= {"stream": False, "samplers": ["temperature"], "temperature": 0.0, **fields}
        body["logit_bias"] = [[token, _FORCE] for token in dict.fromkeys(row)]
        answer = await client.post(f"{client.server.root}/completion", self.finished(body), seconds=600.0)
        reports = answer.get("completion_probabilities") if isinstance(answer, dict) else None
        if not isinstance(reports, list) or [report.get("id") for report in reports if isinstance(report, dict)][: len(row)] != list(row):
            raise client.malformed(answer)
        found = []
        for token, report in zip(row, reports, strict=False):
            if not isinstance(report.get("logprob"), int | float):
                raise client.malformed(answer)
            logprob = _logprob(report)
            found.append(TextToken(spelled(report), token, -math.inf if logprob is None else logprob))
        return found


class _Events:
    """Reads the events of one answer: most are one token each, and one that ends a character stands for all of its bytes' tokens."""

    def __init__(self) -> None:
        self._tokens = 0

    def piece(self, event: Body) -> TextPiece:
        text, total = spelled({"token": event.get("content", 0)}), _number(event, "tokens_predicted")
        count = max(total - self._tokens, 1)
        self._tokens += count
        if not event.get("stop"):
            return TextPiece(_tokens(event, text, count))
        kind = event.get("stop_type")
        if kind == "word":  # phrases that the user's own fields name
            text += str(event.get("stopping_word") or "")
        usage = TextUsage(_number(event, "tokens_evaluated"), _reused(event), total)
        return TextPiece(_tokens(event, text, count), "length" if kind == "limit" else "stop", usage)


def _tokens(event: Body, text: str, count: int) -> tuple[TextToken, ...]:
    """The tokens of an event, with log-probabilities where they are given; one for all where they are not all told."""
    found = [_token(report) for report in event.get("completion_probabilities") or () if isinstance(report, dict)]
    if found and len(found) == count and "".join(token.text for token in found) == text:
        return tuple(found)
    if not text:
        return ()
    ids = event.get("tokens")
    number = ids[0] if count == 1 and isinstance(ids, list) and len(ids) == 1 else None
    score = found[0].logprob if count == len(found) == 1 else None
    return (TextToken(text, number, score, count=count),)


def _token(report: Body) -> TextToken:
    others = [other for other in report.get("top_logprobs") or () if isinstance(other, dict)]
    scored = ((spelled(other), _logprob(other)) for other in others)
    alternatives = tuple((text, score) for text, score in scored if score is not None)
    return TextToken(spelled(report), report.get("id"), _logprob(report), alternatives)


def _logprob(report: Body) -> float | None:
    value = report.get("logprob")
    return float(value) if isinstance(value, int | float) and value > _LEAST else None


def _number(event: Body, name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _reused(event: Body) -> int:
    timings = event.get("timings")
    return _number(timings, "cache_n") if isinstance(timings, dict) else 0


def _same(one: object, other: object) -> bool:
    """Whether a default is the value that is wanted; the server rounds numbers to 32 bits."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return one == other

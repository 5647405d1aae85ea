"""vLLM: grammars through `structured_outputs` (0.12 and later) or `guided_…` (before), scores through `prompt_logprobs`.

Fields as published with 0.33; `/version` says which server it is. The tests marked `real` run 0.32: there `logprobs` of an answer under a
grammar are those after its mask, and `prompt_logprobs` are the model's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmqlc.backends.choice import Sampling
from lmqlc.backends.remote.client import Client, Refused
from lmqlc.backends.remote.dialect import STREAMED, chat_fields, refuse_empty
from lmqlc.backends.remote.tokens import TokenDialect
from lmqlc.backends.remote.wire import Body, sampling_fields
from lmqlc.backends.text import TextAbilities, TextPrompt, TextRequest, TextToken
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow, LmqlError, UnsupportedConstraint

STRUCTURED = (0, 12)
"""The first version that has lost the fields `guided_…`."""
_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_BIAS = 1_024
_GREEDY = Sampling()


class VllmDialect(TokenDialect):
    """One model at a vLLM server."""

    server = "vLLM"

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = ()) -> None:
        super().__init__(model, extra, omitted)
        self._version: tuple[int, int] | None = None
        self._longest: int | None = None

    async def version(self, client: Client) -> tuple[int, int]:
        """Major and minor version; where the server does not say, that of the newest one known."""
        if self._version is None:
            await self.check_model(client)
            found = await client.get(f"{client.server.root}/version")
            numbers = re.match(r"v?(\d+)\.(\d+)", str(found.get("version", ""))) if isinstance(found, dict) else None
            self._version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 33)
        return self._version

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        refuse_empty(prompt, self.server)
        await self.version(client)
        ids, longest = await self.ids(client, prompt), self._longest
        room = None if ids is None or longest is None else longest - len(ids)
        if ids is not None and room is not None and room <= 0:
            raise ContextOverflow(
                f"the prompt is {len(ids)} tokens long, and {self.model} at vLLM takes {longest}; "
                "shorten the prompt, or start the server with a larger --max-model-len"
            )
        return TextAbilities(
            self.server, "delegated", schemas=True, stops_kept=True, alternatives=20, bias=_BIAS, room=room, scores=ids is not None
        )

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        body: Body = {"model": self.model, **sampling_fields(request, _NAMES), **STREAMED}
        body |= {"include_stop_str_in_output": True, "return_token_ids": True, "top_k": request.sampling.top_k or -1}
        if request.stops:
            body["stop"] = list(request.stops)
        if request.bias:
            body["logit_bias"] = {str(token): bias for token, bias in request.bias.items()}
        body |= self._constraint(request, await self.version(client))
        if request.prompt.turns:
            body |= chat_fields(request)
            body |= {"max_completion_tokens": request.max_tokens, "logprobs": True, "top_logprobs": request.alternatives}
            return f"{client.server.base}/chat/completions", self.finished(body)
        ids = await self.ids(client, request.prompt)
        body |= {"prompt": ids or request.prompt.text, "max_tokens": request.max_tokens, "logprobs": request.alternatives}
        return f"{client.server.base}/completions", self.finished(body)

    def _constraint(self, request: TextRequest, version: tuple[int, int]) -> Body:
        if request.grammar is not None:
            pattern = request.grammar.regex()
            kind, value = ("regex", pattern) if pattern is not None else ("grammar", request.grammar.ebnf())
        elif request.schema is not None:
            kind, value = "json", dict(request.schema)  # type: ignore[assignment]
        else:
            return {}
        return {"structured_outputs": {kind: value}} if version >= STRUCTURED else {f"guided_{kind}": value}

    async def whole(self, client: Client, prompt: TextPrompt) -> list[int] | None:
        body: Body = {"model": self.model}
        body |= chat_fields(TextRequest(prompt, 1, _GREEDY)) if prompt.turns else {"prompt": prompt.text}
        try:
            found = await client.post(f"{client.server.root}/tokenize", body, seconds=30.0)
        except ContextOverflow:
            raise
        except BackendUnavailable as error:
            if isinstance(error, Refused) and prompt.turns and "chat template" in error.reason:
                raise LmqlError(
                    f"the program uses chat roles, but {self.model} at {self.server} has no chat template; "
                    "choose a chat model, start the server with --chat-template, or write the turns as plain text"
                ) from None
            return None
        tokens = _numbers(found)
        if tokens is not None and isinstance(found.get("max_model_len"), int):
            self._longest = found["max_model_len"]
        return tokens

    async def encode(self, client: Client, text: str) -> list[int]:
        body: Body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        tokens = _numbers(await client.post(f"{client.server.root}/tokenize", body, seconds=30.0))
        if tokens is None:
            raise UnsupportedConstraint(f"{self.server} at {client.server.shown} has no /tokenize, which scoring needs; update the server")
        return tokens

    async def decode(self, client: Client, ids: Sequence[int]) -> str:
        found = await client.post(f"{client.server.root}/detokenize", {"model": self.model, "tokens": list(ids)}, seconds=30.0)
        if not isinstance(found, dict) or not isinstance(found.get("prompt"), str):
            raise client.malformed(found)
        return str(found["prompt"])

    async def score_ids(self, client: Client, prompt: Sequence[int], rows: Sequence[Sequence[int]]) -> list[list[TextToken]]:
        body: Body = {"model": self.model, "prompt": [[*prompt, *row] for row in rows], "max_tokens": 1, "prompt_logprobs": 0}
        body["temperature"] = 0.0
        answer = await client.post(f"{client.server.base}/completions", self.finished(body), seconds=600.0)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or len(choices) != len(rows):
            raise client.malformed(answer)
        found = sorted(choices, key=lambda choice: int(choice.get("index", 0)))
        return [self._scored(client, choice, row) for choice, row in zip(found, rows, strict=True)]

    def _scored(self, client: Client, choice: Body, row: Sequence[int]) -> list[TextToken]:
        """The tokens of a row: the last ones of the prompt that was scored."""
        scored = choice.get("prompt_logprobs")
        if not isinstance(scored, list) or len(scored) <= len(row):
            raise client.malformed(choice)
        found = []
        for token, entry in zip(row, scored[len(scored) - len(row) :], strict=True):
            report = entry.get(str(token)) if isinstance(entry, dict) else None
            if not isinstance(report, dict) or not isinstance(report.get("logprob"), int | float):
                raise client.malformed(choice)
            found.append(TextToken(str(report.get("decoded_token") or ""), token, float(report["logprob"])))
        return found


def _numbers(found: object) -> list[int] | None:
    """The ids of an answer of `/tokenize`."""
    tokens = found.get("tokens") if isinstance(found, dict) else None
    return tokens if isinstance(tokens, list) and all(isinstance(token, int) for token in tokens) else None

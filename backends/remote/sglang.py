"""SGLang: grammars as `regex` and `ebnf` beside the fields of OpenAI's API, scores through `/generate`. Fields as published with 0.5."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.dialect import STREAMED, chat_fields, refuse_empty
from lmqlc.backends.remote.tokens import TokenDialect
from lmqlc.backends.remote.wire import Body, sampling_fields
from lmqlc.backends.text import ScoredText, TextAbilities, TextPrompt, TextRequest, TextToken
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow, UnsupportedConstraint

_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_BIAS = 1_024


class SglangDialect(TokenDialect):
    """One model at an SGLang server."""

    server = "SGLang"

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = ()) -> None:
        super().__init__(model, extra, omitted)
        self._known = False
        self._longest: int | None = None

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        refuse_empty(prompt, self.server)
        if not self._known:
            await self.check_model(client)
            self._known = True
        ids, longest = await self.ids(client, prompt), self._longest
        room = None if ids is None or longest is None else longest - len(ids) - 1  # the server wants room for one token more
        if ids is not None and room is not None and room <= 0:
            raise ContextOverflow(
                f"the prompt is {len(ids)} tokens long, and {self.model} at SGLang takes {longest}; "
                "shorten the prompt, or start the server with a larger --context-length"
            )
        return TextAbilities(
            self.server, "delegated", schemas=True, stops_kept=True, alternatives=20, bias=_BIAS, room=room, scores=ids is not None
        )

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        body: Body = {"model": self.model, **sampling_fields(request, _NAMES), **STREAMED}
        body |= {"top_k": request.sampling.top_k or -1, "no_stop_trim": True}
        if request.stops:
            body["stop"] = list(request.stops)
        if request.bias:
            body["logit_bias"] = {str(token): bias for token, bias in request.bias.items()}
        if request.grammar is not None:
            pattern = request.grammar.regex()
            body |= {"regex": pattern} if pattern is not None else {"ebnf": request.grammar.ebnf()}
        if request.prompt.turns:
            if request.schema is not None:
                body["response_format"] = {"type": "json_schema", "json_schema": {"name": "hole", "schema": dict(request.schema)}}
            body |= _chat(request)
            body |= {"max_completion_tokens": request.max_tokens, "logprobs": True, "top_logprobs": request.alternatives}
            return f"{client.server.base}/chat/completions", self.finished(body)
        if request.schema is not None:
            body["json_schema"] = json.dumps(request.schema)
        ids = await self.ids(client, request.prompt)
        body |= {"prompt": ids or request.prompt.text, "max_tokens": request.max_tokens, "logprobs": request.alternatives}
        return f"{client.server.base}/completions", self.finished(body)

    async def whole(self, client: Client, prompt: TextPrompt) -> list[int] | None:
        """The ids of a plain prompt; the server does not say what it makes of a conversation."""
        return None if prompt.turns else await self._tokenized(client, prompt.text, special=True)

    async def _tokenized(self, client: Client, text: str, *, special: bool) -> list[int] | None:
        """What the server's own tokenizer makes of a text; None where it does not say."""
        body = {"model": self.model, "prompt": text, "add_special_tokens": special}
        try:
            found = await client.post(f"{client.server.root}/tokenize", body, seconds=30.0)
        except BackendUnavailable:
            return None
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            return None
        if isinstance(found.get("max_model_len"), int):
            self._longest = found["max_model_len"]
        return tokens

    async def encode(self, client: Client, text: str) -> list[int]:
        ids = await self._tokenized(client, text, special=False)
        if ids is None:
            raise UnsupportedConstraint(f"{self.server} at {client.server.shown} has no /tokenize, which scoring needs; update the server")
        return ids

    async def decode(self, client: Client, ids: Sequence[int]) -> str:
        found = await client.post(f"{client.server.root}/detokenize", {"model": self.model, "tokens": list(ids)}, seconds=30.0)
        if not isinstance(found, dict) or not isinstance(found.get("text"), str):
            raise client.malformed(found)
        return str(found["text"])

    async def score(self, client: Client, prompt: TextPrompt, options: Sequence[str]) -> list[ScoredText]:
        refuse_empty(prompt, self.server)
        if prompt.turns:
            raise UnsupportedConstraint(f"{self.server} does not score answers in a chat; write the turns as plain text, or use vllm/NAME")
        return await super().score(client, prompt, options)

    async def score_ids(self, client: Client, prompt: Sequence[int], rows: Sequence[Sequence[int]]) -> list[list[TextToken]]:
        body: Body = {
            "input_ids": [[*prompt, *row] for row in rows],
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": max(len(prompt) - 1, 0),
            "return_text_in_logprobs": True,
        }
        answer = await client.post(f"{client.server.root}/generate", self.finished(body), seconds=600.0)
        if not isinstance(answer, list) or len(answer) != len(rows):
            raise client.malformed(answer)
        return [self._scored(client, found, list(row)) for found, row in zip(answer, rows, strict=True)]

    def _scored(self, client: Client, row: object, tail: list[int]) -> list[TextToken]:
        """The tokens of an option: the last ones of the input that was scored, each `[logprob, id, text]`."""
        about = row.get("meta_info") if isinstance(row, dict) else None
        scored = about.get("input_token_logprobs") if isinstance(about, dict) else None
        if not isinstance(scored, list) or len(scored) < len(tail):
            raise client.malformed(row)
        found = []
        for token, entry in zip(tail, scored[len(scored) - len(tail) :], strict=True):
            if not isinstance(entry, list) or len(entry) < 2 or entry[1] != token or not isinstance(entry[0], int | float):
                raise client.malformed(row)
            found.append(TextToken(str(entry[2] or "") if len(entry) > 2 else "", token, float(entry[0])))
        return found


def _chat(request: TextRequest) -> Body:
    """Messages; SGLang has no `add_generation_prompt`: going on with the last message says it all."""
    fields = chat_fields(request)
    fields.pop("add_generation_prompt", None)
    return fields

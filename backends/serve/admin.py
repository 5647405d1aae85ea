"""What is served, how it is doing, and its tokenizer."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lmqlc.backends.serve.answers import answer, read_json
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.openapi import document
from lmqlc.backends.serve.problems import Problem
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.serve.texts import messages_of

MAX_TOKENS = 1 << 20


def routes(served: Served) -> list[BaseRoute]:
    """Routes about the model and the server."""
    admin = Admin(served)
    return [
        Route("/health", admin.health, methods=["GET"]),
        Route("/metrics", admin.metrics, methods=["GET"]),
        Route("/openapi.json", admin.openapi, methods=["GET"]),
        Route("/v1/models", admin.models, methods=["GET"]),
        Route("/v1/models/{name:path}", admin.model, methods=["GET"]),
        Route("/tokenize", admin.tokenize, methods=["POST"]),
        Route("/detokenize", admin.detokenize, methods=["POST"]),
    ]


class Admin:
    """The answers about one served model."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def health(self, request: Request) -> Response:
        """200 where the model is ready, 503 while it is loading or where it failed. Needs no key, and tells no more than that."""
        status = self._served.status
        return answer({"status": status}, 200 if status == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._served.metrics.text(self._served), media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return answer(document(self._served.settings.version, legacy=self._served.settings.legacy))

    async def models(self, request: Request) -> Response:
        return answer({"object": "list", "data": [self._card(name) for name in self._served.settings.names]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._served.check_model(name)
        return answer(self._card(name))

    def _card(self, name: str) -> dict[str, Any]:
        context = self._served.ready().backend.context_length if self._served.status == "ready" else None
        return {"id": name, "object": "model", "created": int(self._served.started), "owned_by": "lmqlc", "max_model_len": context}

    async def tokenize(self, request: Request) -> Response:
        """The ids of a text as it begins a prompt, or of a conversation by the model's template."""
        ready = self._served.ready()
        fields = Fields(await read_json(request, self._served.settings.body))
        self._served.check_model(fields.text("model", most=1000))
        if fields.raw("messages") is not None:
            tokens = chat_ids(ready, fields, generation_prompt=fields.flag("add_generation_prompt", True))
        else:
            text = fields.text("prompt", most=1 << 24)
            if text is None:
                raise fields.bad("prompt", "given")
            first = fields.flag("first", True)
            prefix = ready.tokenizer.prefix() if fields.flag("add_special_tokens", True) and first else []
            tokens = prefix + ready.tokenizer.encode(text, first=first)
        fields.done()
        return answer({"tokens": tokens, "count": len(tokens), "max_model_len": ready.backend.context_length})

    async def detokenize(self, request: Request) -> Response:
        ready = self._served.ready()
        fields = Fields(await read_json(request, self._served.settings.body))
        self._served.check_model(fields.text("model", most=1000))
        ids = fields.ids("tokens", most=MAX_TOKENS, width=ready.width)
        fields.done()
        return answer({"prompt": ready.tokenizer.decode(ids)})


def chat_ids(ready: Ready, fields: Fields, *, generation_prompt: bool) -> list[int]:
    """The ids of a request's conversation."""
    ids = ready.tokenizer.chat(messages_of(fields), generation_prompt=generation_prompt)
    if ids is None:
        raise Problem(400, "the model has no chat template: use /v1/completions", "no_chat_template", param="messages")
    return ids

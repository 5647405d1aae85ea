"""The server of llama-cpp-python: OpenAI's paths with a grammar in GBNF. Fields as in 0.3.

Token ids as a prompt are an error there, `n` is ignored, log-probabilities need a server that keeps all logits: none is asked for.
"""

from __future__ import annotations

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.dialect import Dialect
from lmqlc.backends.remote.wire import Body, messages_of, sampling_fields
from lmqlc.backends.text import TextAbilities, TextPrompt, TextRequest

_NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


class LlamaCppPythonDialect(Dialect):
    """A model at a server of llama-cpp-python."""

    server = "llama-cpp-python"

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        return TextAbilities(self.server, "delegated", continues=not prompt.turns)

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        body: Body = {"model": self.model, "max_tokens": request.max_tokens, "mirostat_mode": 0, "stream": True}
        body |= sampling_fields(request, _NAMES)
        if request.stops:
            body["stop"] = list(request.stops)
        if request.grammar is not None:
            body["grammar"] = request.grammar.gbnf()
        if request.prompt.turns:
            return f"{client.server.base}/chat/completions", self.finished({**body, "messages": messages_of(request)})
        return f"{client.server.base}/completions", self.finished({**body, "prompt": request.prompt.text})

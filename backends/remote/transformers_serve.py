"""`transformers serve`: OpenAI's paths with few of its fields; an unknown field is an error (422), known ones may be ignored.

Fields as in 5.23. Ways to sample beyond greedy travel as a generation config. Log-probabilities, other tokens and biases are not to be had.
"""

from __future__ import annotations

import json

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.dialect import Dialect, refuse_empty
from lmqlc.backends.remote.wire import Body, messages_of
from lmqlc.backends.text import TextAbilities, TextPrompt, TextRequest


class TransformersDialect(Dialect):
    """One model at a `transformers serve`."""

    server = "transformers serve"

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        refuse_empty(prompt, self.server)
        return TextAbilities(self.server, "checked", continues=not prompt.turns)

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        self.refuse_sampling(request, "frequency_penalty", "presence_penalty")
        body: Body = {"model": self.model, "stream": True, "generation_config": json.dumps(self._generation(request))}
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stops:
            body["stop"] = list(request.stops)
        if request.prompt.turns:
            return f"{client.server.base}/chat/completions", self.finished({**body, "messages": messages_of(request)})
        return f"{client.server.base}/completions", self.finished({**body, "prompt": request.prompt.text})

    def _generation(self, request: TextRequest) -> Body:
        """All of the generation config: what a model's own config says about sampling does not count, as in process."""
        sampling = request.sampling
        config: Body = {"max_new_tokens": request.max_tokens, "do_sample": sampling.temperature > 0, "num_beams": 1}
        config["repetition_penalty"] = sampling.repetition_penalty
        if sampling.temperature > 0:
            config |= {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p, "min_p": sampling.min_p}
        return config

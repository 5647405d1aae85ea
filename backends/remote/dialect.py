"""What a client of one kind of server must say; `backend.py` does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.wire import Body, chat_piece, completion_piece, messages_of
from lmqlc.backends.text import ScoredText, TextAbilities, TextPiece, TextPrompt, TextRequest
from lmqlc.grammar.errors import LmqlError, ModelNotFound, UnsupportedConstraint

_SPARE = (("logprobs", "top_logprobs"), ("stream_options",), ("prompt_cache_key",), ("return_token_ids",), ("stop",), ("response_format",))
"""Fields that only report or save something, each with those that need it; stops are cut here too, and schemas are checked."""


STREAMED: Body = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
"""Streams of vLLM and SGLang: with counts in every event, since most answers are not read to their end."""


class Dialect(ABC):
    """A kind of server, and one model there. What it finds out about the server is kept for the life of the model.

    model: the name it is asked for by. extra: fields that the user adds to every request. omitted: fields that the user leaves out.
    """

    server = ""
    """The server's name in messages."""
    masks_scores = True
    """Log-probabilities of an answer that a grammar, a schema or a bias has changed may be those after the change."""

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = ()) -> None:
        self.model = model
        self._extra = dict(extra or {})
        self._omitted = frozenset(omitted)

    @abstractmethod
    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        """See `TextSession.abilities`."""

    @abstractmethod
    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        """The URL and the body of a streamed request. May ask the server for more."""

    def reader(self, url: str) -> Callable[[Body], TextPiece]:
        """Reads the events of one answer, in their order. What it gives raises Malformed."""
        return chat_piece if url.endswith("/chat/completions") else completion_piece

    async def tail(self, client: Client, prompt: TextPrompt) -> str:
        """Text at the end of a prompt that a hole may take back. Of a server that does not tell of its tokens: white space within a line,
        which hardly any model would have written by itself."""
        end = prompt.end
        count = min(len(end) - len(end.rstrip(" \t")), prompt.fresh)
        return end[len(end) - count :] if count and (prompt.turns or count < len(end)) else ""

    async def score(self, client: Client, prompt: TextPrompt, options: Sequence[str]) -> list[ScoredText]:
        """See `ScoresTexts.score_texts`."""
        raise UnsupportedConstraint(
            f"{self.server} does not give the log-probabilities of given texts, which `distribution` and `score` need; "
            "use a model in this process (local:NAME), vllm/NAME, sglang/NAME or llama.cpp/NAME"
        )

    async def score_said(self, client: Client, prompt: TextPrompt, ids: Sequence[int]) -> list[float] | None:
        """See `KnowsTokens.score_said`."""
        return None

    def finished(self, body: Body) -> Body:
        """A body with the user's own fields."""
        body = {**body, **self._extra}
        return {key: value for key, value in body.items() if key not in self._omitted}

    def without(self, body: Body, reason: str) -> Body | None:
        """A refused body without the first field that the refusal names and that the text does not depend on; None where it names none.
        Fields that change what is said are never dropped."""
        for fields in _SPARE:
            if fields[0] in reason and any(field in body for field in fields):
                self._omitted |= frozenset(fields)
                return {key: value for key, value in body.items() if key not in fields}
        return None

    async def check_model(self, client: Client) -> dict[str, Any]:
        """The server's entry for the model, {} where it lists none. Raises ModelNotFound where it lists others only, BackendUnavailable."""
        found = await client.get(f"{client.server.base}/models")
        entries = found.get("data") if isinstance(found, dict) else None
        if not isinstance(entries, list) or not entries:
            return {}
        listed = {str(entry.get("id")): entry for entry in entries if isinstance(entry, dict)}
        if self.model in listed:
            return listed[self.model]
        names = ", ".join(list(listed)[:20])
        raise ModelNotFound(f"the {client.server.kind} server at {client.server.shown} has no model {self.model!r}; it has: {names}")

    def refuse_sampling(self, request: TextRequest, *names: str) -> None:
        """Raise UnsupportedConstraint where a request asks for a way to sample that the server does not have."""
        plain = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
        for name in names:
            if getattr(request.sampling, name) != plain[name]:
                raise UnsupportedConstraint(
                    f"{self.server} has no `{name}`; leave it out of the decoder's arguments, or use a model in this process (local:NAME)"
                )


def refuse_empty(prompt: TextPrompt, server: str) -> None:
    """Raise LmqlError for a prompt without text, which most servers do not take."""
    if not prompt.text and not any(content for _, content in prompt.turns):
        raise LmqlError(f"the prompt is empty, and {server} cannot start from nothing; write some text first")


def chat_fields(request: TextRequest) -> Body:
    """Messages, and the flags of vLLM and SGLang for going on in the middle of the last one."""
    messages = messages_of(request)
    if request.prompt.turns and request.prompt.begun:
        return {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}
    return {"messages": messages}

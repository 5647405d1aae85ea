"""The part of OpenAI's API that all servers share: streamed completions and chat answers, read into pieces."""

from __future__ import annotations

import math
from typing import Any, Literal

from lmqlc.backends.text import TextPiece, TextRequest, TextToken, TextUsage

Body = dict[str, Any]


class Malformed(Exception):
    """An event that is not of the published form."""


def completion_piece(event: Body) -> TextPiece:
    """An event of `/v1/completions`. Raises Malformed."""
    choice = _choice(event)
    if choice is None:
        return TextPiece(usage=usage_of(event))
    text = _text(choice.get("text"))
    finish = finish_of(choice.get("finish_reason"))
    return TextPiece(_aligned(_listed(choice), text, finish), finish, usage_of(event))


def chat_piece(event: Body) -> TextPiece:
    """An event of `/v1/chat/completions`. Text that a server calls reasoning is no part of the answer. Raises Malformed."""
    choice = _choice(event)
    if choice is None:
        return TextPiece(usage=usage_of(event))
    delta = choice.get("delta") or {}
    if not isinstance(delta, dict):
        raise Malformed
    if delta.get("refusal"):
        raise Malformed(f"the model refuses to answer: {delta['refusal']}")
    text = _text(delta.get("content"))
    finish = finish_of(choice.get("finish_reason"))
    return TextPiece(_aligned(_reported(choice), text, finish), finish, usage_of(event))


def _choice(event: Body) -> Body | None:
    """The one choice of an event; None where it has none, as the last one with the usage."""
    choices = event.get("choices")
    if choices is None and "usage" not in event:
        raise Malformed
    if not choices:
        return None
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise Malformed
    return choices[0]


def _text(value: object) -> str:
    """A text of a server; halves of surrogate pairs, which JSON can hold and text cannot, become U+FFFD."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed
    return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def finish_of(reason: object) -> Literal["stop", "length"] | None:
    """How an answer ended. Raises Malformed for an end that brings no text, as a filter's."""
    if reason is None or reason == "":
        return None
    if reason == "length":
        return "length"
    if reason in ("stop", "eos", "eos_token", "stop_sequence", "end_turn"):
        return "stop"
    raise Malformed(f"the answer was ended: {reason}")


def usage_of(event: Body) -> TextUsage | None:
    """The counts of an event, where it has some."""
    usage = event.get("usage")
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return TextUsage(_count(usage.get("prompt_tokens")), _count(cached), _count(usage.get("completion_tokens")))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _listed(choice: Body) -> list[TextToken]:
    """The tokens of a completion: parallel lists in `logprobs`, ids beside."""
    logprobs, ids = choice.get("logprobs"), choice.get("token_ids")
    if not isinstance(logprobs, dict) or not isinstance(logprobs.get("tokens"), list):
        return []
    tokens = logprobs["tokens"]
    scores = _parallel(logprobs.get("token_logprobs"), len(tokens))
    others = _parallel(logprobs.get("top_logprobs"), len(tokens))
    numbers = _parallel(ids, len(tokens))
    return [
        TextToken(_text(text), _id(number), _score(score), tuple(sorted(_scored(other), key=lambda pair: -pair[1])))
        for text, score, other, number in zip(tokens, scores, others, numbers, strict=True)
    ]


def _reported(choice: Body) -> list[TextToken]:
    """The tokens of a chat answer: objects in `logprobs.content`, ids beside."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        return []
    numbers = _parallel(choice.get("token_ids"), len(content))
    found = []
    for entry, number in zip(content, numbers, strict=True):
        others = [other for other in entry.get("top_logprobs") or () if isinstance(other, dict)]
        scored = [(spelled(other), _score(other.get("logprob"))) for other in others]
        alternatives = [(text, score) for text, score in scored if text and score is not None]
        number = entry.get("id", number)
        found.append(TextToken(spelled(entry), _id(number), _score(entry.get("logprob")), tuple(alternatives)))
    return found


def spelled(entry: Body) -> str:
    """The text of a reported token: its bytes where they are given and are whole characters."""
    data = entry.get("bytes")
    if isinstance(data, list):
        try:
            return bytes(data).decode()
        except (ValueError, TypeError):
            pass
    return _text(entry.get("token"))


def _parallel(values: object, count: int) -> list[Any]:
    return list(values) if isinstance(values, list) and len(values) == count else [None] * count


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _score(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def _scored(value: object) -> list[tuple[str, float]]:
    if not isinstance(value, dict):
        return []
    return [(text, score) for text, given in value.items() if (score := _score(given)) is not None]


def _aligned(tokens: list[TextToken], text: str, finish: str | None) -> tuple[TextToken, ...]:
    """The reported tokens where they spell the text; else one token for all of it. The last token may be one of end-of-text."""
    if tokens and "".join(token.text for token in tokens) == text:
        return tuple(tokens)
    if tokens and finish and "".join(token.text for token in tokens[:-1]) == text:
        last = tokens[-1]
        return (*tokens[:-1], TextToken("", last.id, last.logprob))
    scores = [token.logprob for token in tokens if token.logprob is not None]
    if not text:
        return ()
    return (TextToken(text, None, math.fsum(scores) if scores and len(scores) == len(tokens) else None, count=max(len(tokens), 1)),)


def sampling_fields(request: TextRequest, names: dict[str, str]) -> Body:
    """The fields of a request's sampling, by the names that a server has for them."""
    body = {field: getattr(request.sampling, name) for name, field in names.items()}
    if request.seed is not None and "seed" not in body:
        body["seed"] = request.seed
    return body


def messages_of(request: TextRequest) -> list[Body]:
    """The conversation as messages; a prompt without turns is one message of the user. An assistant's turn that is empty is left to the
    server to begin."""
    if not request.prompt.turns:
        return [{"role": "user", "content": request.prompt.text}]
    turns = request.prompt.turns
    turns = turns[:-1] if turns[-1] == ("assistant", "") else turns
    return [{"role": role, "content": content} for role, content in turns]

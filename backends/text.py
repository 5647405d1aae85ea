"""Models behind text: what a server that takes a prompt as text, and says text, is to the rest of the project.

Such a server decodes a whole hole by itself. It has no masks of ours and no tokenizer that we could know, so a constraint reaches it as a
grammar in its own notation ("delegated"), or is held by checking what arrives ("checked"). Either way the text is judged by our automaton.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

from lmqlc.backends.base import Level, SessionUsage, Tokenizer
from lmqlc.backends.choice import Sampling

Turn = tuple[str, str]
"""Role and content of a chat turn."""


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt: `text`, or, where a program uses role tags, the `turns` of a conversation, the open one last.

    fresh: how many characters at its end were written since the last hole; what stands before them was said by the model.
    """

    text: str
    turns: tuple[Turn, ...] = ()
    fresh: int = field(default=0, compare=False)

    def and_then(self, said: str) -> TextPrompt:
        """The prompt with what the model has said after it."""
        return self._with_end(self.end + said, 0) if said else self

    def without(self, tail: int) -> TextPrompt:
        """The prompt without some of the fresh characters at its end."""
        return self._with_end(self.end[: len(self.end) - tail], self.fresh - tail) if tail else self

    @property
    def end(self) -> str:
        """The text that a hole stands behind: all of it, or the content of the open turn."""
        return self.turns[-1][1] if self.turns else self.text

    @property
    def begun(self) -> str:
        """What stands in the open turn already; empty without turns."""
        return self.end if self.turns else ""

    def _with_end(self, end: str, fresh: int) -> TextPrompt:
        turns = (*self.turns[:-1], (self.turns[-1][0], end)) if self.turns else ()
        return TextPrompt(self.text if self.turns else end, turns, fresh)


@dataclass(frozen=True, slots=True)
class TextToken:
    """A token as a server reports it, or a piece of text where it reports no tokens.

    id: None where the server names none. logprob: natural, at temperature 1, before masks, None where it gives none. alternatives: texts
    that could have stood in its place, with their log-probabilities. count: how many of the model's tokens it stands for. A token of
    end-of-text has no text.
    """

    text: str
    id: int | None = None
    logprob: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A text with the log-probabilities of its tokens after a prompt.

    healed: the prompt's end that the first token begins with, taken back for it; `tail` is the log-probability of that end as it stood.
    """

    tokens: tuple[TextToken, ...]
    healed: str = ""
    tail: float = 0.0


@dataclass(frozen=True, slots=True)
class TextUsage:
    """What a server counted for one request, in tokens."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class TextPiece:
    """One message of a server's stream. finish: "stop" at a stop phrase or end-of-text, "length" at `max_tokens`, None before the end."""

    tokens: tuple[TextToken, ...] = ()
    finish: Literal["stop", "length"] | None = None
    usage: TextUsage | None = None


class TextGrammar(Protocol):
    """What a server may write, in the notations of servers. Raises LmqlCompileError where it is too large to be written out."""

    def regex(self, longest: int = ...) -> str | None:
        """A pattern for full matches; None where it would be long, or nested deeply."""
        ...

    def ebnf(self) -> str:
        """The dialect of xgrammar."""
        ...

    def gbnf(self) -> str:
        """The dialect of llama.cpp."""
        ...


@dataclass(frozen=True, slots=True)
class TextRequest:
    """One request for the text of a hole, or for a part of it.

    grammar: what may be written, where the server can enforce it. schema: a JSON schema for it instead. stops: phrases that surely end the
    hole; a server that takes them may end there, one of `stops_kept` with the phrase in its text. alternatives: how many other tokens to
    report beside each. seconds: how long the server may stay silent. bias: added to the logits of token ids.
    """

    prompt: TextPrompt
    max_tokens: int
    sampling: Sampling
    grammar: TextGrammar | None = None
    schema: Mapping[str, Any] | None = None
    stops: tuple[str, ...] = ()
    alternatives: int = 0
    seed: int | None = None
    seconds: float = 120.0
    bias: Mapping[int, float] = field(default_factory=dict)

    def but(self, **changes: Any) -> TextRequest:
        """The request with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class TextAbilities:
    """What a server can do, found when it is first asked.

    level: "delegated" where it enforces grammars. continues: it goes on with a text that it is given, in the middle of the answer too;
    False for chat servers that always begin a new answer. schemas: takes JSON schemas. stops_kept: a stop phrase it ends at is in its text
    (False: it is not, and the server does not say which one it was). alternatives: the most it reports beside a token. bias: the most
    token ids it takes in `bias`. room: tokens that the context window has left for the answer, None where unknown. tail: text at the end
    of the prompt that a hole may take back, as its first token may go on from it. scores: it scores given texts.
    """

    server: str
    level: Level
    continues: bool = True
    schemas: bool = False
    stops_kept: bool = False
    most_stops: int = 1_000
    alternatives: int = 0
    bias: int = 0
    room: int | None = None
    tail: str = ""
    scores: bool = False


@runtime_checkable
class TextSession(Protocol):
    """One query's use of a server."""

    async def abilities(self, prompt: TextPrompt) -> TextAbilities:
        """What the server can do for such a prompt. May ask it; raises BackendUnavailable, ModelNotFound."""
        ...

    def complete(self, request: TextRequest) -> AsyncGenerator[TextPiece, None]:
        """The server's answer as it arrives. To be closed (`aclose`) where it is not read to its end: that ends the server's work.

        A request that fails before anything of an answer has arrived is repeated, within bounds. Raises StreamBroken where the answer
        breaks off, BackendUnavailable, ModelNotFound, ContextOverflow, UnsupportedConstraint for a field the server does not have.
        """
        ...

    @property
    def usage(self) -> SessionUsage:
        """Requests (as `forward_passes`), and tokens of prompts computed and reused, as far as the server tells."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class ScoresTexts(Protocol):
    """A text session whose server gives the log-probabilities of given texts."""

    async def score_texts(self, prompt: TextPrompt, options: Sequence[str]) -> list[ScoredText]:
        """Every option after the prompt, as the model's tokenizer writes it there. An option's numbers do not depend on the others. Texts
        are healed where the prompt has `fresh` characters at its end."""
        ...


@runtime_checkable
class KnowsTokens(Protocol):
    """A text session whose server tells of token ids."""

    async def score_said(self, prompt: TextPrompt, ids: Sequence[int]) -> list[float] | None:
        """The log-probabilities of what the model has said after a prompt, before masks; None where that is not to be had, or dear."""
        ...

    def remember(self, prompt: TextPrompt, said: str, ids: Sequence[int]) -> None:
        """The model has said a text in these tokens: it stays so in prompts that go on from it."""
        ...


@runtime_checkable
class TextBackend(Protocol):
    """A server, or anything else that says text. Safe to share between queries. tokenizer: the model's, where the user named it."""

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> Level: ...

    @property
    def tokenizer(self) -> Tokenizer | None: ...

    async def open_text(self) -> TextSession: ...

    async def close(self) -> None: ...


_IS_TEXT: dict[type, bool] = {}
"""What `takes_text` has found: the check of a protocol is slow."""


def takes_text(backend: object) -> TypeGuard[TextBackend]:
    """The backend is one of text, not of tokens."""
    kind = type(backend)
    if kind not in _IS_TEXT:
        _IS_TEXT[kind] = isinstance(backend, TextBackend)
    return _IS_TEXT[kind]

"""A model as a value: what `lmql.model(…)` gives. It generates and scores text without a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmqlc.backends.base import ModelSpec
from lmqlc.backends.text import TextBackend, TextPrompt
from lmqlc.runtime.distribution import By, Scored, Scores, Start, checked_by, score_prompted, score_texts
from lmqlc.runtime.execute import execute, outcome, run_coroutine
from lmqlc.runtime.functions import settings_with
from lmqlc.runtime.models import AnyBackend, ModelValue, open_model
from lmqlc.runtime.prompt import Prompt
from lmqlc.runtime.run import Settings

_GENERATE = '"{prompt}[RESPONSE]"\nreturn prompt + RESPONSE\n'


@dataclass(frozen=True)
class LLM:
    """A model, not loaded before its first use."""

    model: ModelSpec | AnyBackend

    async def generate(self, prompt: str, max_tokens: int | None = None, **options: Any) -> Any:
        """The prompt and what the model says after it, as one text; with `decoder="sample", n=…` a list of texts. Options are `decoder` and
        the decoder's own."""
        return await generate(prompt, self, max_tokens=max_tokens, **options)

    def generate_sync(self, prompt: str, max_tokens: int | None = None, **options: Any) -> Any:
        """`generate` from synchronous code."""
        return run_coroutine(self.generate(prompt, max_tokens, **options))

    async def score(self, prompt: str, values: Sequence[str] | str, *, by: By = "sum", token_healing: bool = True) -> Scores:
        """Log-probabilities of texts after a prompt. by: how the texts are compared, by the "sum" or the "mean" over their tokens."""
        return await score(prompt, values, self, by=by, token_healing=token_healing)

    def score_sync(self, prompt: str, values: Sequence[str] | str, *, by: By = "sum", token_healing: bool = True) -> Scores:
        """`score` from synchronous code."""
        return run_coroutine(self.score(prompt, values, by=by, token_healing=token_healing))


async def generate(prompt: str, model: ModelValue, *, max_tokens: int | None = None, **options: Any) -> Any:
    """A prompt and what a model says after it: a string, or a list of them where the decoder gives several."""
    from lmqlc.compiler.driver import compile_source
    from lmqlc.grammar.source import Source
    from lmqlc.runtime.arguments import environment_for

    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    program = compile_source(Source("<generate>", _GENERATE))
    settings = settings_with(Settings(model=model), options)
    return outcome(await execute(program, environment_for(None, {"prompt": prompt}), settings))


async def score(prompt: str, values: Sequence[str] | str, model: ModelValue, *, by: By = "sum", token_healing: bool = True) -> Scores:
    """Log-probabilities of texts after a prompt, and how they are compared. Errors: ContextOverflow."""
    checked_by(by)
    texts = [values] if isinstance(values, str) else list(values)
    backend = await open_model(model)
    if isinstance(backend, TextBackend):
        return Scores(prompt, tuple(texts), tuple(await _score_at_server(backend, prompt, texts, heal=token_healing)), by)
    session = await backend.open()
    try:
        written, tokenizer = Prompt(), backend.tokenizer
        written.append_text(prompt)
        start = Start(written.ids(tokenizer), *(written.taken_back(tokenizer) if token_healing else ()))
        scored = await score_texts(session, tokenizer, start, texts, context=backend.context_length)
    finally:
        await session.close()
    return Scores(prompt, tuple(texts), tuple(scored), by)


async def _score_at_server(backend: TextBackend, prompt: str, texts: Sequence[str], *, heal: bool) -> list[Scored]:
    session = await backend.open_text()
    try:
        return await score_prompted(session, backend.name, TextPrompt(prompt, fresh=len(prompt) if heal else 0), texts)
    finally:
        await session.close()

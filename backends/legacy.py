"""A model behind the legacy inference API: `argmax(backend="legacy")` and the like. Logits come step by step, by polling, and masks are
applied here.

The API knows no scoring and no text of tokens: log-probabilities are read from logits, and the tokenizer is the model's own, by its name.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import httpx2 as httpx
import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Logits, ModelSpec, Progress, SessionUsage
from lmqlc.backends.elsewhere import ModelElsewhere
from lmqlc.grammar.errors import BackendUnavailable, LmqlError, ModelNotFound

POLL_SECONDS = 0.01
"""Seconds between two looks at the results."""
TIMEOUT = 60.0
"""Seconds to wait for a result; the option `timeout`."""
ROWS = 16
"""Most sequences of one request."""


class LegacyBackend(ModelElsewhere):
    """A model that a server of the legacy API has."""

    async def open(self) -> LegacySession:
        return LegacySession(self)


class LegacySession:
    """One run's use of the model."""

    def __init__(self, backend: LegacyBackend) -> None:
        self._backend = backend
        self._usage = SessionUsage()
        self._client = uuid.uuid4().hex
        self._http = httpx.AsyncClient(base_url=backend.endpoint.url, headers=backend.endpoint.headers(), timeout=backend.timeout)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._count = 0

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        """Sequences of one length go together: padding would move their positions in models that count from the first id."""
        width = len(self._backend.tokenizer.vocabulary)
        rows = np.full((len(sequences), width), -np.inf, np.float32)
        places: dict[int, list[int]] = defaultdict(list)
        for place, sequence in enumerate(sequences):
            places[len(sequence)].append(place)
        groups = [group[i : i + ROWS] for group in places.values() for i in range(0, len(group), ROWS)]
        answers = await asyncio.gather(*(self._forward([list(sequences[i]) for i in group]) for group in groups))
        for group, answer in zip(groups, answers, strict=True):
            shared = min(width, answer.shape[1])
            rows[group, :shared] = answer[:, :shared]
        return rows

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        rows = (await self.logits([sequence[:end] for end in range(start, len(sequence))])).astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        totals = np.log(np.exp(rows).sum(axis=1))
        return np.asarray(rows[np.arange(len(rows)), list(sequence[start:])] - totals, np.float64)

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._http.aclose()

    async def _forward(self, sequences: list[list[int]]) -> Logits:
        """Logits `float32[n, width of the server's]` after sequences of one length."""
        self._usage.forward_passes += 1
        self._usage.tokens_computed += sum(map(len, sequences))
        ids = sequences if len(sequences) > 1 else sequences[0]
        result = await self._ask({"action": "forward", "model_identifier": self._backend.name, "input_ids": ids, "attention_mask": None})
        try:
            logits = np.atleast_2d(np.asarray(result["next_token_logits"], np.float32))
        except (KeyError, TypeError, ValueError):
            raise BackendUnavailable(f"{self._at} gave no logits: {str(result.get('error', 'an unknown answer'))[:200]}") from None
        if logits.ndim != 2 or len(logits) != len(sequences):
            raise BackendUnavailable(f"{self._at} gave logits of the shape {logits.shape} for {len(sequences)} sequences")
        return logits

    async def _ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Queue a request and wait for its result."""
        sample, self._count = f"{self._client}:{self._count}", self._count + 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[sample] = answer
        try:
            await self._request("POST", "/queue", payload | {"client_id": self._client, "sample_id": sample})
            if self._poller is None or self._poller.done():
                self._poller = asyncio.create_task(self._poll())
            async with asyncio.timeout(self._backend.timeout):
                return await answer
        except TimeoutError:
            raise BackendUnavailable(f"{self._at} gave no result within {self._backend.timeout:g} s; `timeout=` allows more") from None
        finally:
            self._waiting.pop(sample, None)

    async def _poll(self) -> None:
        """Fetch results for as long as somebody waits. A failure is that of everybody who waits."""
        try:
            while self._waiting:
                for result in (await self._request("GET", f"/results/{self._client}")).json():
                    answer = self._waiting.get(str(result.get("sample_id")))
                    if answer is not None and not answer.done():
                        answer.set_result(result)
                await asyncio.sleep(POLL_SECONDS)
        except (LmqlError, ValueError, AttributeError, TypeError) as error:
            failure = error if isinstance(error, LmqlError) else BackendUnavailable(f"{self._at} gave results that cannot be read")
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(failure)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise BackendUnavailable(
                f"{self._at} cannot be reached ({type(error).__name__}); {_START.format(self._backend.name)}"
            ) from None
        if response.is_success:
            return response
        if response.status_code == 401:
            raise BackendUnavailable(f"{self._at} wants an API key, or another one; give `api_key=` or set LMQL_API_KEY")
        if response.status_code == 404:
            raise BackendUnavailable(f"{self._at} has no legacy API; {_START.format(self._backend.name)}")
        said = response.text[:300]
        if response.status_code == 400 and "serves model" in said:
            raise ModelNotFound(f"{self._at}: {said}")
        raise BackendUnavailable(f"{self._at} answered {response.status_code}: {said}")

    @property
    def _at(self) -> str:
        return f"the server at {self._backend.endpoint.url}"


_START = "start one with `lmql serve-model {} --legacy`"


def load_legacy(spec: ModelSpec, *, progress: Progress | None = None) -> LegacyBackend:
    """The model of such a server; options and errors: `ModelElsewhere.of`."""
    return LegacyBackend.of(spec, TIMEOUT)

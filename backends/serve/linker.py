"""Constraints from requests become constraints on the tokens of the served model, the last ones kept.

Automata are linked in a thread of their own. Formulas wait for the worker processes of their engines, each in a thread: one that makes an
engine hang holds up no other. See `lmqlc.compiler.masks.external`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lmqlc.backends.base import Tokenizer
from lmqlc.backends.scheduler import Busy
from lmqlc.backends.wire_automaton import unpack_automaton
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.masks.external import workers
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.kept import Kept
from lmqlc.compiler.masks.request import Formula, Language

T = TypeVar("T")

MOST_AUTOMATA = 128 << 20
"""Bytes of automata that are kept for clients that name them again."""
MOST_LINKED = 256 << 20
"""Bytes of linked constraints that are kept."""
WAITING = 32
"""Formulas that are linked at the same time, and holes with one that are begun."""
PATIENCE = 20.0
"""Seconds to wait for a constraint to be linked before the client is asked to come again."""

Linked = tuple[TokenConstraint, tuple[StopPhrase, ...]]


class Linker:
    """Links languages to one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        workers().apart = True
        self._tokenizer = tokenizer
        self._automata: Kept[TextAutomaton] = Kept(MOST_AUTOMATA)
        self._linked: Kept[Linked] = Kept(MOST_LINKED)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lmqlc-link")
        self._formulas = ThreadPoolExecutor(max_workers=WAITING, thread_name_prefix="lmqlc-formula")
        self._holes = ThreadPoolExecutor(max_workers=WAITING, thread_name_prefix="lmqlc-hole")

    def known(self, name: str) -> TextAutomaton | None:
        """An automaton that some client has sent before."""
        return self._automata.get(name)

    async def received(self, name: str, packed: bytes) -> TextAutomaton:
        """The automaton of a name, from its bytes. Raises ArtifactError."""
        automaton = await self.run(lambda: unpack_automaton(packed, name))
        self._automata.put(name, automaton, automaton.delta.nbytes + automaton.accepts.nbytes)
        return automaton

    async def link(self, name: Hashable, language: Language, budget: int | None, follow: str | None, before: bytes = b"") -> Linked:
        """The constraint on tokens, and its stop phrases. name: equal only for the same language. budget: None for any number of tokens.
        before: see `TokenConstraint.require`.

        Raises UnsatisfiableConstraint, UnsupportedConstraint and LmqlCompileError as `link` and `compose`, Busy where it takes long.
        """
        key = (name, budget, follow, before)
        found = self._linked.get(key)
        if found is None:
            threads = self._formulas if isinstance(language, Formula) else self._thread
            found = await self._run_in(threads, lambda: self._within(name, language, budget, follow, before))
            self._linked.put(key, found, found[0].nbytes)
        return found

    def _within(self, name: Hashable, language: Language, budget: int | None, follow: str | None, before: bytes) -> Linked:
        """A language linked once, whatever the budgets and prompts."""
        whole = self._linked.get((name, follow))
        if whole is None:
            whole = self._link(language, follow)
            self._linked.put((name, follow), whole, whole[0].nbytes)
        constraint, phrases = whole
        return constraint.within(budget).require(before), phrases

    async def begin(self, constraint: TokenConstraint | None, work: Callable[[], T]) -> T:
        """Runs what begins a hole with a constraint: in a thread where that may wait for other processes."""
        return work() if constraint is None or constraint.exact else await self._run_in(self._holes, work)

    async def run(self, work: Callable[[], T]) -> T:
        """Runs something in the linker's thread. Raises Busy where it takes long."""
        return await self._run_in(self._thread, work)

    async def _run_in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        future = threads.submit(work)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            future.cancel()
            raise Busy("the constraint takes long to link", PATIENCE) from None

    def _link(self, language: Language, follow: str | None) -> Linked:
        from lmqlc.compiler.masks.compose import compose
        from lmqlc.compiler.masks.core import core_of
        from lmqlc.compiler.masks.leading import with_leading_space
        from lmqlc.compiler.masks.token_automaton import finished

        vocabulary = self._tokenizer.vocabulary
        if isinstance(language, Formula):
            spaced = with_leading_space if language.leading_space else None
            composed = compose(language.constraint, vocabulary, follow=follow, encode=self._encode, with_space=spaced, before=None)
            core = getattr(composed, "core", None)
            return composed, getattr(composed, "phrases", ()) if core is None else core.automaton.phrases
        core = core_of(language, vocabulary)
        linked = finished(core, max_tokens=None, follow=follow, encode=self._encode, named=vocabulary.named)
        return linked, language.phrases

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, first=False)

    def close(self) -> None:
        """Ends the threads."""
        for threads in (self._thread, self._formulas, self._holes):
            threads.shutdown(wait=False, cancel_futures=True)

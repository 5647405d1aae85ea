"""What the runtime asks of a constraint on tokens, whoever answers: our automata, or an engine behind an adapter."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

State = Hashable
Bits = npt.NDArray[np.uint32]
Ids = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Before:
    """What stands directly before a place of a hole, so that a text is tokenised as it would be there.

    text: the end of what was written: of the hole's own tokens, which stay; or, where healed, the end of the prompt, which the first token
    must begin with.
    """

    text: bytes = b""
    healed: bool = False


NOTHING = Before()


class TokenConstraint(Protocol):
    """A hole's constraint over one vocabulary of width V. States are opaque, hashable values; nothing here has side effects."""

    @property
    def exact(self) -> bool:
        """Whether masks are exactly right (False: prefix-checked only)."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds now, about; what it shares with others counts."""
        ...

    @property
    def longest(self) -> int | None:
        """The most tokens that a text may take, whatever budget and vocabulary; None where texts have no bound, or none is known."""
        ...

    def within(self, max_tokens: int | None) -> TokenConstraint:
        """The same constraint, over the same states, for a text of at most so many tokens (None: any number); what does not depend on that
        is shared. It may be that no such text is valid: see `require`."""
        ...

    def satisfiable(self, before: bytes = b"") -> bool:
        """Some tokens make a valid text; False is certain. before: the end of the prompt, which the first token may cover (see `heal`)."""
        ...

    def require(self, before: bytes = b"") -> Self:
        """The constraint itself. Raises UnsatisfiableConstraint where it is not `satisfiable`."""
        ...

    def start(self) -> State: ...

    def mask(self, state: State) -> Bits:
        """Read-only uint32[ceil(V / 32)]; bit `i % 32` of word `i // 32` says that token `i` is allowed. End-of-text bits are set where
        the text may end. All zero where the text is complete and must not go on."""
        ...

    def advance(self, state: State, token_id: int) -> State | None:
        """The state after a token, None where it is not allowed. Total: never raises for any id below V."""
        ...

    def enter(self, state: State, token_id: int, skip: int) -> State | None:
        """`advance` for a first token whose first `skip` bytes, and not all of them, are the prompt's: only the rest is read."""
        ...

    def entering(self, state: State, ids: Ids, skip: int) -> Ids:
        """Those of some usable ids, all longer than `skip` bytes, which `enter` takes."""
        ...

    def enters(self, state: State, ids: Ids, skip: int) -> bool:
        """Whether `entering` gives any."""
        ...

    def is_final(self, state: State) -> bool:
        """The text so far is a valid final text."""
        ...

    def is_closed(self, state: State) -> bool:
        """The text is valid and no continuation gives another text: decoding ends without a model call."""
        ...

    def forced(self, state: State, before: Before = NOTHING) -> list[int]:
        """Tokens that are written without asking: those with which the tokenizer begins every legal continuation (see `canonical`), all of
        them where there is but one; often none."""
        ...

    def stopped(self, state: State) -> int | None:
        """None while decoding goes on; else it has ended, and this many bytes at the end of the written bytes are to be cut (a removed
        stop phrase, overrun, a discarded token of the following literal)."""
        ...

    def followed(self, state: State) -> bool:
        """It has ended by a token of the following literal, and not by a stop or by end-of-text."""
        ...

    def undecided(self, state: State) -> bool:
        """Whether anything can go on from here is not known yet: only a Python function can say, and does not."""
        ...

"""What a server is told when it starts: where it listens, whom it lets in, and the bounds on everything that it is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Settings of one server.

    names: what clients may call the model; the first one is shown. api_key: every request but those to `/health` must have it. batch: works
    that share a step. queue: works that may wait; more get 429. seconds: the longest that one request may take. body: bytes of a request.
    connections: open at one time. idle: seconds that a connection may stay open without a request. drain: seconds that a server which is
    told to stop gives to the requests it has. legacy: whether the legacy API is served too. version: of lmqlc, as
    it is shown.
    """

    names: tuple[str, ...]
    host: str = "localhost"
    port: int = 8080
    api_key: str | None = None
    batch: int = 32
    queue: int = 256
    seconds: float = 600.0
    body: int = 16 << 20
    connections: int = 1000
    idle: float = 30.0
    drain: float = 30.0
    legacy: bool = False
    version: str = ""


MAX_SEQUENCES = 256
"""Id sequences in one request for logits."""
MAX_ROWS = 1 << 26
"""Numbers in the answer to one request for logits: sequences times vocabulary."""
MAX_OPTIONS = 4096
"""Texts of one request that are scored together."""
MAX_CHOICES = 32
"""Choices (`n`) of one prompt, and prompts of one request."""
MAX_STOPS = 16
MAX_LOGPROBS = 20
MAX_MESSAGES = 2048
HEARTBEAT = 2.0
"""Seconds of silence after which a stream says that it is alive."""
SLOW = 60.0
"""Seconds that a client may take to read what it is sent."""

"""Where a session stands in a script that gives one text per hole, in order.

The session is asked about id sequences and knows nothing of holes, unless the runtime says where they begin (`begin`). Without that it
guesses: a sequence goes on with its hole where its text agrees with the script, or where it is one token longer than one asked about
before; any other begins the next hole. Where a call asks about several sequences, a hole's place in the script is one after that of the
hole its prompt goes on from, so that the branches of a run read the script each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

Ids = tuple[int, ...]


class ScriptPosition:
    """The prompts that holes began with, and which hole of the script each is."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text.encode() for text in texts]
        self._starts: dict[bytes, int] = {}
        self._asked: set[Ids] = set()
        self._ended: set[bytes] = set()
        self._announced = self._branched = False
        self._pending = 0

    def begin(self, prompt: bytes | None = None) -> None:
        """A branch begins a hole, after a prompt, or where that is not told, with its next question. Branches may begin the same one."""
        self._announced = True
        if prompt is None:
            self._pending += 1
        elif prompt not in self._starts or prompt in self._ended:
            self._starts[prompt] = self._parent(prompt) + 1

    def rests(self, sequences: Sequence[Ids], texts: Sequence[bytes]) -> list[bytes]:
        """What the script says after each of the sequences of one call, whose texts are given: b"" where nothing."""
        self._branched |= len(sequences) > 1
        fresh = self._announced_fresh(sequences) if self._announced else list(map(self._seems_fresh, sequences, texts))
        steps = self._pending if self._pending and sum(fresh) == 1 else 1
        begun = {text: self._parent(text) + steps for text, new in zip(texts, fresh, strict=True) if new}
        self._starts |= begun
        self._pending = 0
        self._asked.update(sequences)
        return [self._rest(text) for text in texts]

    def _announced_fresh(self, sequences: Sequence[Ids]) -> list[bool]:
        """Which sequences begin a hole: as many as branches said so, those first that do not go on from a question asked before."""
        order = sorted(range(len(sequences)), key=lambda i: sequences[i][:-1] in self._asked)
        chosen = set(order[: self._pending])
        return [i in chosen for i in range(len(sequences))]

    def _seems_fresh(self, sequence: Ids, text: bytes) -> bool:
        start = self._start(text)
        if start is None or text in self._ended:
            return True
        script = self._text(self._starts[start])
        said = text[len(start) :]
        if script.startswith(said):
            return False
        return said.startswith(script) or sequence[:-1] not in self._asked

    def _start(self, text: bytes) -> bytes | None:
        """The longest prompt of a hole that a text begins with."""
        return max((start for start in self._starts if text.startswith(start)), key=len, default=None)

    def _parent(self, text: bytes) -> int:
        """The hole before one that begins with a prompt, -1 where it is the first."""
        start = self._start(text)
        if self._branched and start is not None:
            return self._starts[start]
        return max(self._starts.values(), default=-1)

    def _hole(self, text: bytes) -> int:
        """The hole that a text is in, -1 before the first."""
        start = self._start(text)
        return -1 if start is None else self._starts[start]

    def _text(self, hole: int) -> bytes:
        return self._texts[hole] if 0 <= hole < len(self._texts) else b""

    def _rest(self, text: bytes) -> bytes:
        start = self._start(text) or b""
        script, said = self._text(self._hole(text)), text[len(start) :]
        rest = script[len(said) :] if script.startswith(said) else b""
        if not rest:
            self._ended.add(text)
        return rest

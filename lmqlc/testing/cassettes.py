"""Cassettes: what a model said in a test, kept as JSON, so that the test runs again without the model.

A cassette is found by what was asked, not by the program's text: comments and layout may change; where the program asks something else, or
no longer allows the answer, `CassetteMismatch` says so.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmqlc.grammar.errors import LmqlError

FORMAT = 1
FOLDER = "cassettes"

Piece = bytes | None
"""What a token writes; None for a special token."""


class CassetteMismatch(LmqlError):
    """A program asks for something that its cassette does not hold."""


@dataclass(frozen=True, slots=True)
class RecordedHole:
    """One decoded hole: the text before its first token as the model saw it, the text that was taken back to be covered by that token, the
    tokens with natural log-probabilities (the last one may have ended the hole), and the final text."""

    name: str
    prompt: bytes
    healed: bytes
    tokens: tuple[tuple[Piece, float], ...]
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What a model said in one test. encoded: how its tokenizer cut texts; chat: how it wrote conversations; scores: log-probabilities
    of the tokens of a text after another."""

    model: str
    decoder: str
    context: int | None
    prefix: int
    encoded: Mapping[tuple[str, bool], tuple[Piece, ...]] = field(default_factory=dict)
    chat: Mapping[str, tuple[Piece, ...] | None] = field(default_factory=dict)
    holes: tuple[RecordedHole, ...] = ()
    scores: Mapping[tuple[bytes, bytes], tuple[float, ...]] = field(default_factory=dict)
    outcome: tuple[tuple[tuple[str, str], ...], ...] = ()


def place_of(query: Path) -> Path:
    """The file in which the recordings of a query's tests are kept."""
    return query.parent / FOLDER / f"{query.stem}.json"


def load(query: Path) -> dict[str, Recording]:
    """The recordings of a query's tests by name; none where there is no file. Raises LmqlError for a file that cannot be read."""
    path = place_of(query)
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise LmqlError(f"{path} has format {data['format']}, this version reads {FORMAT}; record again: lmqlc test --record")
        return {name: _recording(one) for name, one in data["tests"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LmqlError(f"{path} is no cassette: {type(error).__name__}: {error}; record again: lmqlc test --record") from None


def save(query: Path, recordings: Mapping[str, Recording]) -> Path:
    """Write the recordings of a query's tests, whole or not at all. Raises LmqlError where the file cannot be written."""
    path = place_of(query)
    tests = {name: _plain(recordings[name]) for name in sorted(recordings)}
    text = _text({"format": FORMAT, "query": query.name, "tests": tests}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise LmqlError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    return path


def _text(value: Any, indent: str = "") -> str:
    """JSON for people who read differences: an object has a line for each key, a list of lists a line for each."""
    if isinstance(value, dict) and value and value.keys() != {"hex"}:
        rows = [f"{json.dumps(key, ensure_ascii=False)}: {_text(item, indent + ' ')}" for key, item in value.items()]
        return "{\n" + ",\n".join(f"{indent} {row}" for row in rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and any(isinstance(item, list | dict) for item in value):
        rows = [_text(item, indent + " ") if isinstance(item, dict) else json.dumps(item, ensure_ascii=False) for item in value]
        return "[\n" + ",\n".join(f"{indent} {row}" for row in rows) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def _piece(piece: Piece) -> Any:
    if piece is None:
        return None
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": piece.hex()}


def _read(piece: Any) -> Piece:
    if piece is None:
        return None
    return bytes.fromhex(piece["hex"]) if isinstance(piece, dict) else str(piece).encode("utf-8")


def _pieces(pieces: Sequence[Any] | None) -> tuple[Piece, ...] | None:
    return None if pieces is None else tuple(map(_read, pieces))


def _plain(recording: Recording) -> dict[str, Any]:
    return {
        "model": recording.model,
        "decoder": recording.decoder,
        "context": recording.context,
        "prefix": recording.prefix,
        "encoded": [[text, first, [_piece(one) for one in pieces]] for (text, first), pieces in recording.encoded.items()],
        "chat": {key: None if pieces is None else [_piece(one) for one in pieces] for key, pieces in recording.chat.items()},
        "holes": [
            {
                "name": hole.name,
                "prompt": _piece(hole.prompt),
                "healed": _piece(hole.healed),
                "text": hole.text,
                "tokens": [[_piece(piece), round(logprob, 6)] for piece, logprob in hole.tokens],
            }
            for hole in recording.holes
        ],
        "scores": [[_piece(a), _piece(b), [round(value, 6) for value in row]] for (a, b), row in recording.scores.items()],
        "outcome": [[list(hole) for hole in branch] for branch in recording.outcome],
    }


def _recording(data: Mapping[str, Any]) -> Recording:
    return Recording(
        data["model"],
        data["decoder"],
        data["context"],
        data["prefix"],
        {(text, first): _pieces(pieces) or () for text, first, pieces in data["encoded"]},
        {key: _pieces(pieces) for key, pieces in data["chat"].items()},
        tuple(
            RecordedHole(
                hole["name"],
                _read(hole["prompt"]) or b"",
                _read(hole["healed"]) or b"",
                tuple((_read(piece), float(logprob)) for piece, logprob in hole["tokens"]),
                hole["text"],
            )
            for hole in data["holes"]
        ),
        {(_read(a) or b"", _read(b) or b""): tuple(map(float, row)) for a, b, row in data["scores"]},
        tuple(tuple((name, text) for name, text in branch) for branch in data["outcome"]),
    )

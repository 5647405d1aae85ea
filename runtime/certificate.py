"""Certificates: runs as JSON, with everything that it takes to repeat them, and without secrets.

Format 1: `type`, `format`, `name`, `time` (UTC), `versions`, `runs`, `children` (certificates of traces inside), `metrics` (sums over all).
A run has `program` (name, text, SHA-256 of the text), `arguments`, `model`, `tokenizer` (fingerprint of the vocabulary), `decoder` (name,
effective arguments and seed), `results` of its branches, `error`, `time` and `seconds`. Holes in results have the ids before them
(`prompt_ids`, with their SHA-256 as little-endian int64; for models that take text, `prompt_text` and the SHA-256 of its UTF-8), tokens
with log-probabilities, and `seconds`. Where a text of a hole or before it has a secret in it, ids and tokens are left out, since they
spell it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.redact import Redaction
from lmqlc.runtime.results import HoleResult, Result
from lmqlc.runtime.trace import RunRecord, Trace

TYPE, FORMAT = "lmqlc.Certificate", 1
_PACKAGES = ("lmqlc", "numpy", "tokenizers", "torch", "transformers", "llguidance")


class Certificate:
    """A certificate. `str` gives its JSON text, `to_dict` its content."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def to_dict(self) -> dict[str, Any]:
        """The certificate in terms of JSON."""
        return self._content

    def __str__(self) -> str:
        text = json.dumps(self._content, ensure_ascii=False, allow_nan=False, indent=2)
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate in a value
            text = json.dumps(self._content, allow_nan=False, indent=2)
        return text

    def __repr__(self) -> str:
        return f"<certificate {self._content['name']!r} of {len(self._content['runs'])} runs>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON text to a file, whole or not at all. Raises LmqlError where it cannot be written."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            temporary.write_text(f"{self}\n", encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LmqlError(f"cannot write the certificate {str(path)!r}: {error.strerror or error}") from None


def read_certificate(path: str | os.PathLike[str]) -> Certificate:
    """A certificate from its file. Raises LmqlError for what is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LmqlError(f"cannot read the certificate {str(path)!r}: {error.strerror or error}") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("type") != TYPE:
        raise LmqlError(f"{str(path)!r} is no certificate")
    if content.get("format") != FORMAT:
        raise LmqlError(f"the certificate {str(path)!r} has format {content.get('format')!r}; this version reads format {FORMAT}")
    return Certificate(content)


def certificate(trace: Trace, *, redact: Iterable[str] = ()) -> Certificate:
    """The certificate of everything that a trace has recorded. redact: names of further values to leave out."""
    return Certificate(_trace(trace, Redaction(redact)))


def certificate_of(record: RunRecord) -> Certificate:
    """The certificate of one run."""
    trace = Trace(record.program.source.name)
    trace.started, trace.runs = record.started, [record]
    return certificate(trace)


def deliver(made: Certificate, to: Any) -> None:
    """Hand a certificate to whoever wants it: True prints it, a function gets it, a path is written."""
    if to is True:
        print(made)
    elif callable(to):
        to(made)
    else:
        made.save(to)


def _trace(trace: Trace, redaction: Redaction) -> dict[str, Any]:
    children = [_trace(child, redaction) for child in trace.children]
    runs = [_run(record, redaction) for record in trace.runs]
    return {
        "type": TYPE,
        "format": FORMAT,
        "name": redaction.text(trace.name),
        "time": _time(trace.started),
        "versions": versions(),
        "runs": runs,
        "children": children,
        "metrics": _metrics(runs, children),
    }


def versions() -> dict[str, str]:
    """Versions of what decides about the outcome of a run."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if package == "lmqlc":
                found[package] = str(getattr(sys.modules.get("lmqlc"), "__version__", "unknown"))
    return found


def _run(record: RunRecord, redaction: Redaction) -> dict[str, Any]:
    source, model, tokenizer = record.program.source, record.model or {}, record.tokenizer
    redaction.learn({name: fact.get("value", fact.get("tuple")) for name, fact in record.arguments.items()})
    redaction.learn(model.get("options", {}))
    error = record.error
    vocabulary = None if tokenizer is None else tokenizer.vocabulary
    shown = {
        "program": {"name": source.name, "text": source.text, "sha256": sha256(source.text.encode("utf-8", "surrogatepass"))},
        "arguments": record.arguments,
        "model": record.model,
        "tokenizer": vocabulary and {"fingerprint": vocabulary.fingerprint, "size": len(vocabulary), "eos_ids": list(vocabulary.eos_ids)},
        "decoder": record.decoder,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "time": _time(record.started),
        "seconds": record.seconds,
    }
    cleaned: dict[str, Any] = redaction.clean(shown)
    cleaned["results"] = [_result(result, record, redaction) for result in record.results]
    return cleaned


def _result(result: Result, record: RunRecord, redaction: Redaction) -> dict[str, Any]:
    shown: dict[str, Any] = redaction.clean({key: value for key, value in result.to_dict().items() if key != "holes"})
    return shown | {"holes": [_hole(hole, record, redaction) for hole in result.holes]}


def _hole(hole: HoleResult, record: RunRecord, redaction: Redaction) -> dict[str, Any]:
    ids = np.array(hole.prompt_ids, dtype="<i8")
    before = ids.tobytes() if hole.prompt_ids else hole.prompt_text.encode("utf-8", "surrogatepass")
    facts = hole.to_dict()
    tokens = facts.pop("tokens")
    if _spells_secret(hole, record, redaction):
        tokens = None
    shown: dict[str, Any] = redaction.clean(facts)
    return shown | {
        "prompt_ids": None if tokens is None else ids.tolist(),
        "prompt_text": redaction.text(hole.prompt_text),
        "prompt_sha256": sha256(before),
        "tokens": tokens,
        "seconds": hole.seconds,
    }


def _spells_secret(hole: HoleResult, record: RunRecord, redaction: Redaction) -> bool:
    """The ids before a hole, or its tokens, spell a secret."""
    before = hole.prompt_text if record.tokenizer is None else record.tokenizer.decode(hole.prompt_ids)
    whole = before + "".join(token.text for token in hole.tokens)
    return redaction.text(whole) != whole


def _metrics(runs: list[dict[str, Any]], children: list[dict[str, Any]]) -> dict[str, Any]:
    usages = [result["usage"] for run in runs for result in run["results"]]
    firsts = [run["results"][0]["usage"] for run in runs if run["results"]]
    own = {
        "runs": len(runs),
        "tokens": sum(usage["tokens"] for usage in usages),
        "forced": sum(usage["forced"] for usage in usages),
        "forward_passes": sum(usage["forward_passes"] for usage in firsts),
        "seconds": sum(run["seconds"] for run in runs),
    }
    return {key: value + sum(child["metrics"][key] for child in children) for key, value in own.items()}


def sha256(data: bytes) -> str:
    """SHA-256 as hex digits."""
    return hashlib.sha256(data).hexdigest()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

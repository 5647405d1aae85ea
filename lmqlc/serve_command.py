"""`lmqlc serve-model`: options for the server and for the model, and a server in the foreground."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click

from lmqlc.serving import make_server
from lmqlc.terminal import ProgressLine

OURS = (
    "cuda", "host", "port", "legacy", "api-key", "served-name", "batch", "queue", "timeout", "connections", "drain",
    "help",
)  # fmt: skip
MODEL_OPTIONS = (
    "trust_remote_code", "dtype", "torch_dtype", "load_in_4bit", "load_in_8bit", "device_map", "revision", "cache_dir", "token",
    "subfolder", "attn_implementation", "low_cpu_mem_usage", "max_memory", "offload_folder", "variant", "use_safetensors",
    "local_files_only", "force_download", "tokenizer", "cache_bytes", "tp_plan", "experts_implementation", "seed",
)  # fmt: skip
"""Options that are known; others are passed on all the same, unless they almost spell one of these."""
_WORDS = {"true": True, "false": False, "none": None, "null": None}


def serve_command(rest: Sequence[str], *, cuda: bool, ours: dict[str, Any], bounds: dict[str, Any]) -> None:
    """Serve a model until a signal. rest: the model, and options of `from_pretrained`."""
    model, options = split_rest(rest)
    progress = ProgressLine(sys.stderr)
    server = make_server(model, cuda=cuda, options=options, bounds=bounds, progress=progress, **ours)
    print(f"lmqlc: loading {model}; {server.url}/health tells how far it is", file=sys.stderr)

    def ready(_: Any) -> None:
        progress.close()
        names = ", ".join(server.settings.names)
        print(f"lmqlc: ready: {names} at {server.url} (OpenAI API at {server.url}/v1)", file=sys.stderr, flush=True)

    try:
        server.run(ready)
    finally:
        progress.close()


def split_rest(rest: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The model, and the options among the arguments that are none of the server's: `--KEY VALUE`, `--KEY=VALUE`, or `--KEY` for true."""
    words: list[str] = []
    options: dict[str, Any] = {}
    took: str | None = None  # the last option that took a word for its value
    at = 0
    while at < len(rest):
        word = rest[at]
        at += 1
        if not word.startswith("--") or word == "--":
            words.append(word)
            continue
        key, equals, text = word[2:].partition("=")
        key = known_key(key)
        if key in options:
            raise click.UsageError(f"--{key} is given twice")
        if equals:
            options[key] = literal(text)
        elif at < len(rest) and not rest[at].startswith("--"):
            options[key], took = literal(rest[at]), rest[at]
            last = key
            at += 1
        else:
            options[key] = True
    if not words and took is not None:  # `--load_in_4bit NAME`: a flag, and the model
        words, options[last] = [took], True
    if len(words) != 1:
        raise click.UsageError("name one model" if not words else f"one model can be served, not {len(words)}: {' '.join(words)}")
    return words[0], options


def known_key(text: str) -> str:
    """The option that a word names. Raises click.UsageError for one that almost spells a known option, or can be none."""
    key = text.replace("-", "_")
    if not key.isidentifier():
        raise click.UsageError(f"--{text} can be no option of a model")
    close = get_close_matches(key, [*MODEL_OPTIONS, *(name.replace("-", "_") for name in OURS)], 1, cutoff=0.74)
    if close and close[0] != key:
        found = close[0] if close[0] in MODEL_OPTIONS else close[0].replace("_", "-")
        raise click.UsageError(f"no option --{text}; did you mean --{found}?")
    return key


def literal(text: str) -> Any:
    """A value as written: a Python or JSON literal, else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text

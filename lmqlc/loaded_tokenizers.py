"""Tokenizers that were loaded already: a path until its files change, an object until it is changed."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from lmqlc.backends.base import Tokenizer
from lmqlc.grammar.errors import LmqlError

TokenName = int | str

KEPT = 8
"""Tokenizers that are kept, the ones used last."""
_SAMPLE = 64
_FILES = (".json", ".jinja", ".model", ".txt")

_kept: OrderedDict[Hashable, tuple[Any, Tokenizer]] = OrderedDict()
"""By what was given: the object itself (so that its `id` stays its own) and what was made of it."""
_lock = threading.Lock()


def loaded_tokenizer(obj: Any, *, eos: Iterable[TokenName] | TokenName | None = None) -> Tokenizer:
    """`lmqlc.backends.tokenizer.load_tokenizer`, once for the same tokenizer and the same `eos`.

    Raises ModelNotFound for a path that holds no tokenizer, LmqlError for a damaged or unusable one and for an unknown `eos`.
    """
    ends = _ends(eos)
    with _lock:
        key = (_state(obj), tuple((type(end), end) for end in ends))
        if key not in _kept:
            _kept[key] = obj, _load(obj, ends)
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return _kept[key][1]


def _ends(eos: Iterable[TokenName] | TokenName | None) -> tuple[TokenName, ...]:
    given = () if eos is None else tuple(eos) if isinstance(eos, Iterable) and not isinstance(eos, str) else (eos,)
    for end in given:
        if not isinstance(end, int | str) or isinstance(end, bool):
            raise LmqlError(f"`eos` names tokens by their ids or texts, not {end!r}")
    return given


def _state(obj: Any) -> Hashable:
    """A path with the times of its files; an object's identity with a sample of what it says, to notice that it was trained again, given
    more tokens, or set otherwise."""
    if isinstance(obj, str | Path):
        return _place(Path(obj))
    if hasattr(obj, "get_vocab_size"):
        size = obj.get_vocab_size()
        tokens = [obj.id_to_token(i) for i in _spread(size)]
        return id(obj), size, tuple(tokens), str(obj.normalizer), str(obj.pre_tokenizer), str(obj.decoder)
    if hasattr(obj, "convert_ids_to_tokens"):
        return id(obj), len(obj), tuple(obj.convert_ids_to_tokens(_spread(len(obj)))), getattr(obj, "eos_token_id", None)
    return id(obj)


def _spread(size: int) -> list[int]:
    return list(range(0, size, max(1, size // _SAMPLE)))


def _place(path: Path) -> Hashable:
    """A path, and the names, times and sizes of the small files in its folder: those beside a tokenizer name its special tokens."""
    try:
        folder = path if path.is_dir() else path.parent
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.name.endswith(_FILES) or entry.name == path.name]
            stamps = sorted((entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in files)
        return str(path.resolve()), tuple(stamps)
    except (OSError, RuntimeError, ValueError):
        return str(path)  # the tokenizer's own loading says what is wrong


def _load(obj: Any, ends: tuple[TokenName, ...]) -> Tokenizer:
    from lmqlc.backends.tokenizer import load_tokenizer

    try:
        loaded = load_tokenizer(obj, eos=ends or None)
        vocabulary = loaded.vocabulary
    except ValueError as error:
        raise LmqlError(f"the tokenizer cannot be used: {error}") from None
    for end in ends:
        if loaded is obj and end not in vocabulary.eos_ids:
            raise LmqlError("this tokenizer says itself which tokens end a text; leave `eos` out")
        if isinstance(end, int) and end not in vocabulary.eos_ids:
            raise LmqlError(f"`eos` names the token {end}; this tokenizer has the ids 0 to {len(vocabulary) - 1}")
    return loaded

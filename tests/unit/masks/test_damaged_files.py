"""Files of the cache and artifacts with damage of every kind: none is believed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.tokenizer_bundle import BundleFile, read_bundle
from lmqlc.compiler import artifact
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks import files, store, trie
from lmqlc.compiler.masks.token_automaton import link
from lmqlc.errors import ArtifactError

COPIES = 2000 if os.environ.get("LMQLC_LONG") else 200
TOKENIZER = ByteTokenizer(tuple(f"{number:x}" for number in range(256, 5000)))
VOCABULARY = TOKENIZER.vocabulary
PAGE = 4096


def damages(good: bytes, others: list[bytes], seed: int) -> Iterator[bytes]:
    """Damaged copies of some bytes: flipped bits, lost ends, added ends, blocks that changed places, zeroed pages, other files."""
    choose = random.Random(seed)

    def place(size: int = 1) -> int:
        return choose.randrange(max(1, len(good) - size))

    def flipped(count: int) -> bytes:
        data = bytearray(good)
        for _ in range(count):
            data[place()] ^= 1 << choose.randrange(8)
        return bytes(data)

    def swapped(size: int) -> bytes:
        a, b = sorted((place(2 * size), place(2 * size)))
        b = max(b, a + size)
        return good[:a] + good[b : b + size] + good[a + size : b] + good[a : a + size] + good[b + size :]

    def zeroed(size: int) -> bytes:
        at = place() // size * size
        return good[:at] + bytes(len(good[at : at + size])) + good[at + size :]

    kinds: list[Callable[[], bytes]] = [
        lambda: flipped(1),
        lambda: flipped(choose.randrange(2, 9)),
        lambda: good[: place()],
        lambda: good[: -choose.randrange(1, 70)],
        lambda: good + bytes(choose.randrange(1, 99)),
        lambda: swapped(choose.choice([1, 8, 64])),
        lambda: swapped(PAGE) if len(good) > 2 * PAGE else swapped(16),
        lambda: zeroed(choose.choice([64, 512, PAGE])),
        lambda: good[: (at := place(64))] + os.urandom(64) + good[at + 64 :],
        lambda: good[:at] + good[at + 1 :] if (at := place()) else good[1:],
        lambda: choose.choice(others),
    ]
    made = 0
    while made < COPIES:
        data = kinds[made % len(kinds)]()
        if data != good:
            made += 1
            yield data


def believed(path: Path, good: bytes, others: list[bytes], read: Callable[[], object]) -> int:
    """How many damaged copies are taken for the file; the others are removed."""
    count = 0
    for data in damages(good, others, seed=7):
        path.write_bytes(data)
        count += read() is not None
        assert not path.exists()
    path.write_bytes(good)
    assert read() is not None
    return count


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMQLC_CACHE", str(tmp_path))
    trie.forget_indexes()
    return tmp_path


def test_linked_constraints(cache: Path) -> None:
    kept: dict[str, bytes] = {}
    for key, pattern in {"date": "[0-9]{4}-[0-9]{2}", "word": "[a-z]+", "date too": "[0-9]{4}-[0-9]{2}"}.items():
        store.keep(key, link(build(c.Matches(c.Const(pattern))), VOCABULARY))
        (path,) = [path for path in (cache / "automata").iterdir() if path not in map(Path, kept)]
        kept[str(path)] = path.read_bytes()
    (path, good), *others = kept.items()
    assert believed(Path(path), good, [data for _, data in others], lambda: store.recall("date", VOCABULARY)) == 0


def test_vocabularies(cache: Path) -> None:
    trie.vocabulary_index(VOCABULARY)
    trie.vocabulary_index(ByteTokenizer(tuple(f"{number:x}" for number in range(256, 6000))).vocabulary)
    one, other = sorted((cache / "vocabularies").iterdir(), key=lambda path: path.name != Path(trie._file_name(VOCABULARY)).name)
    assert believed(one, one.read_bytes(), [other.read_bytes()], lambda: trie._stored(VOCABULARY)) == 0
    one.write_bytes(b"damaged")
    trie.forget_indexes()
    assert len(trie.vocabulary_index(VOCABULARY).node) == len(VOCABULARY)
    assert trie._stored(VOCABULARY) is not None  # it was built again


def test_tokenizers_of_servers(cache: Path) -> None:
    bundles = [BundleFile.of(tokenizer) for tokenizer in (TOKENIZER, ByteTokenizer())]
    paths = [cache / "tokenizers" / f"{bundle.name}.bin" for bundle in bundles]
    for path, bundle in zip(paths, bundles, strict=True):
        files.write_file(path, bundle.data)

    def read() -> Any:
        try:
            return read_bundle(paths[0], lambda payload: [])
        except ArtifactError:
            return None

    assert believed(paths[0], paths[0].read_bytes(), [paths[1].read_bytes()], read) == 0


def test_artifacts(tmp_path: Path) -> None:
    program = '"On [D]." where REGEX(D, "[0-9]{4}-[0-9]{2}")\nreturn D\n'
    compiled = lmqlc.compile(program, tokenizer=TOKENIZER)
    path, other = tmp_path / "a.lmqlc", tmp_path / "b.lmqlc"
    compiled.save(path)
    lmqlc.compile(program.replace("4}", "3}"), tokenizer=TOKENIZER).save(other)
    good = path.read_bytes()
    assert artifact.load(path)[1]
    for data in damages(good, [good[: len(good) // 2] + other.read_bytes()], seed=5):
        path.write_bytes(data)
        with pytest.raises(ArtifactError):
            lmqlc.load(path)
    path.write_bytes(good)
    assert artifact.load(path)[1]


def test_texts_keep_their_pattern_with_damaged_caches(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.compiler.masks.core import forget_cores
    from lmqlc.runtime import link as linking
    from lmqlc.runtime import link_cache

    monkeypatch.setattr(link_cache, "WORTH_KEEPING", 0.0)
    monkeypatch.setattr(link_cache, "SMALLEST_VOCABULARY", 0)

    def said() -> str:
        for kept in (linking._AUTOMATA, linking._CORES, linking._LINKED):
            kept.clear()
        forget_cores()
        trie.forget_indexes()
        value: str = lmqlc.run_sync('"[X]" where REGEX(X, "[a-f]{3}-[0-9]{5}")\nreturn X', model="random:3")
        return value

    right = said()
    for path in sorted(cache.rglob("*.bin")):
        for data in list(damages(path.read_bytes(), [b"x"], seed=3))[:12]:
            path.write_bytes(data)
            assert said() == right

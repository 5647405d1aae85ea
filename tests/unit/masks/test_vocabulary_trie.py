"""The vocabulary's index: its trie, its cache in the process and on disk."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.masks import trie
from lmqlc.compiler.masks.files import cache_folder


def large_vocabulary(seed: int = 1) -> Vocabulary:
    rng = random.Random(seed)
    tokens = [b"", *(bytes([byte]) for byte in range(256))]
    tokens += [bytes(rng.choices(b"abc \xc3\xa9", k=rng.randint(1, 9))) for _ in range(trie.WORTH_STORING)]
    return Vocabulary.build([*tokens, b" " * 90, "é".encode() * 40], [0], [0])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMQLC_CACHE", str(tmp_path / "cache"))
    trie.forget_indexes()
    return tmp_path / "cache"


def spelled(index: trie.VocabularyIndex, token: int) -> bytes:
    """The bytes on the way to a token's node."""
    node, found = int(index.node[token]), bytearray()
    while node:
        found.append(index.byte[node])
        node = int(index.parent[node])
    return bytes(reversed(found))


def test_every_token_is_spelled_by_its_node() -> None:
    vocabulary = large_vocabulary()
    index = trie.build_index(vocabulary)
    long = {int(token): at for at, token in enumerate(index.long)}
    for token, data in enumerate(vocabulary.tokens):
        if token in vocabulary.special:
            assert index.node[token] == -1
            continue
        rest = b""
        if token in long:
            rest = index.long_bytes[index.long_start[long[token]] : index.long_start[long[token] + 1]].tobytes()
        assert spelled(index, token) + rest == data
        assert index.chars[token] == sum(not 0x80 <= byte < 0xC0 for byte in data)


def test_nodes_are_distinct_and_levels_follow_depth() -> None:
    index = trie.build_index(large_vocabulary())
    pairs = {(int(index.parent[node]), int(index.byte[node])) for node in range(1, len(index.parent))}
    assert len(pairs) == len(index.parent) - 1
    for level in range(1, len(index.level) - 1):
        above = index.parent[index.level[level] : index.level[level + 1]]
        assert ((above >= index.level[level - 1]) & (above < index.level[level])).all()


def test_special_empty_and_end_tokens_are_never_usable() -> None:
    vocabulary = Vocabulary.build([b"a", b"", b"b", b"c", b"a"], [3], [2])
    index = trie.build_index(vocabulary)
    assert index.usable.tolist() == [True, False, False, False, True]
    assert index.node[0] == index.node[4]
    assert index.order.tolist() == [0, 4]


def test_single_bytes_are_known() -> None:
    index = trie.build_index(Vocabulary.build([b"a", b"bc", b"\xc3", b""], [3], [3]))
    assert np.flatnonzero(index.single_bytes).tolist() == [0x61, 0xC3]


@pytest.mark.parametrize("tokens", [[], [b""], [b"", b""]])
def test_vocabularies_without_text(tokens: list[bytes]) -> None:
    index = trie.build_index(Vocabulary.build(tokens))
    assert len(index.node) == len(tokens) and not index.usable.any()
    assert index.max_chars == 0


def same(one: trie.VocabularyIndex, other: trie.VocabularyIndex) -> bool:
    names = ("level", "parent", "byte", "node", "chars", "long", "long_start", "long_bytes", "order")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_the_index_is_kept_in_the_process_and_on_disk(own_cache: Path) -> None:
    vocabulary = large_vocabulary()
    built = trie.vocabulary_index(vocabulary)
    assert trie.vocabulary_index(vocabulary) is built
    assert [path.parent.name for path in own_cache.rglob("*.bin")] == ["vocabularies"]
    trie.forget_indexes()
    read = trie.vocabulary_index(vocabulary)
    assert read is not built and same(read, built)


def test_small_vocabularies_leave_no_file(own_cache: Path) -> None:
    trie.vocabulary_index(Vocabulary.build([b"a", b""], [1], [1]))
    assert not own_cache.exists()


def test_damaged_files_are_built_again(own_cache: Path) -> None:
    vocabulary = large_vocabulary()
    built = trie.vocabulary_index(vocabulary)
    (path,) = own_cache.rglob("*.bin")
    good = path.read_bytes()
    rng = random.Random(5)
    damages = [b"", b"LMQARR", good[: len(good) // 2], good[:-70], b"\0" * len(good)]
    for _ in range(60):
        at = rng.choice([rng.randrange(len(good)), rng.randrange(900)])
        damages.append(good[:at] + bytes([rng.randrange(256)]) * rng.choice([1, 4, 64]) + good[at + 64 :])
    for damage in damages:
        path.write_bytes(damage)
        trie.forget_indexes()
        index = trie.vocabulary_index(vocabulary)
        assert len(index.node) == len(built.node)
        assert index.node.max() < len(index.parent)


def test_a_file_of_another_vocabulary_is_not_used(own_cache: Path) -> None:
    one, other = large_vocabulary(1), large_vocabulary(2)
    trie.vocabulary_index(one)
    (path,) = own_cache.rglob("*.bin")
    path.rename(path.with_name(path.name.replace(one.fingerprint, other.fingerprint)))
    trie.forget_indexes()
    assert same(trie.vocabulary_index(other), trie.build_index(other))


def test_a_cache_that_cannot_be_written_is_no_failure(own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    assert trie.vocabulary_index(large_vocabulary()).usable.any()


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LMQLC_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("LMQLC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lmqlc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lmqlc"

"""Linked constraints on disk: found again, bounded, and never a reason to fail."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.compiler.constraints import And, Const, Constraint, Custom, Equals, InSet, Matches, TypeIs
from lmqlc.compiler.masks.core import forget_cores
from lmqlc.compiler.masks.forms import unpack
from lmqlc.grammar.source import Span
from lmqlc.runtime import link, link_cache
from lmqlc.runtime.link import Place, link_hole
from lmqlc.runtime.link_cache import DiskEntry, prune

WORDS = Matches(Const(r"[a-z]+( [a-z]+){2,5}\."))
LARGE = Vocabulary.build([b"", *(f"{i:x}".encode() for i in range(5000))], [0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMQLC_CACHE", str(tmp_path))
    monkeypatch.setattr(link_cache, "SMALLEST_VOCABULARY", 0)
    monkeypatch.setattr(link_cache, "WORTH_KEEPING", 0.0)
    forget()
    return tmp_path / "automata"


def forget() -> None:
    """What this process knows is gone; the disk stays."""
    for kept in (link._AUTOMATA, link._CORES, link._LINKED):
        kept.clear()
    forget_cores()


def masks(constraint: Constraint, tokenizer: Tokenizer, **place: Any) -> list[list[bool]]:
    linked = link_hole(constraint, tokenizer, Place(**place)).constraint
    assert linked is not None
    state, found = linked.start(), []
    for token in tokenizer.encode("one two three.", first=False):
        found.append(unpack(linked.mask(state), len(tokenizer.vocabulary)).tolist())
        state = linked.advance(state, token)
    return [*found, unpack(linked.mask(state), len(tokenizer.vocabulary)).tolist()]


def test_found_again_without_building(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ByteTokenizer()
    plain, bounded = masks(WORDS, tokenizer), masks(WORDS, tokenizer, budget=20, follow="x")
    (kept,) = folder.iterdir()
    forget()
    monkeypatch.setattr(link, "text_automaton", None)  # nothing may be built
    assert masks(WORDS, tokenizer) == plain
    assert masks(WORDS, tokenizer, budget=20, follow="x") == bounded
    assert [*folder.iterdir()] == [kept]


@pytest.mark.parametrize("damage", [b"", b"nothing of ours", None])
def test_a_damaged_entry_is_built_again(folder: Path, damage: bytes | None) -> None:
    tokenizer = ByteTokenizer()
    expected = masks(WORDS, tokenizer)
    (kept,) = folder.iterdir()
    data = kept.read_bytes()
    kept.write_bytes(data[: len(data) // 2] if damage is None else damage)
    forget()
    assert masks(WORDS, tokenizer) == expected
    assert kept.read_bytes() == data


@pytest.mark.parametrize("place", ["file", os.devnull, "off"])
def test_a_place_that_cannot_be_written_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    expected = masks(WORDS, ByteTokenizer())
    forget()
    (folder.parent / "file").write_text("in the way")
    monkeypatch.setenv("LMQLC_CACHE", str(folder.parent / "file") if place == "file" else place)
    monkeypatch.chdir(folder.parent)
    before = sorted(folder.parent.rglob("*"))
    assert masks(WORDS, ByteTokenizer()) == expected
    assert sorted(folder.parent.rglob("*")) == before


def test_a_full_disk_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmqlc.compiler.masks.store.write_arrays", full)
    assert len(masks(WORDS, ByteTokenizer())) > 3
    assert not folder.exists()


def test_what_is_quick_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_cache, "WORTH_KEEPING", 60.0)
    masks(WORDS, ByteTokenizer())
    assert not folder.exists()
    monkeypatch.setattr(link_cache, "SMALLEST_VOCABULARY", 4096)
    assert DiskEntry.of(WORDS, False, ByteTokenizer().vocabulary) is None


def test_keys_tell_apart_what_compiles_differently() -> None:
    values: list[Any] = [1, True, "1", 1.0, ["1"], ("1",), [["1"]], {"1"}, re.compile("1"), re.compile("1", re.IGNORECASE), int, None]
    constraints: list[Constraint] = [Equals(Const(value)) for value in values]
    constraints += [
        And((Equals(Const("a")), Equals(Const("b")))),
        And((Equals(Const("a\n'b'")),)),
        InSet(Const({"a", "b"})),
        TypeIs(Const(int)),
    ]
    entries = [DiskEntry.of(constraint, leading, LARGE) for constraint in constraints for leading in (False, True)]
    assert None not in entries
    assert len({entry.key for entry in entries if entry}) == len(entries)


def test_keys_do_not_depend_on_places_or_the_order_of_sets() -> None:
    one = DiskEntry.of(InSet(Const({"a", "b", "c"}), Span(3, 9)), False, LARGE)
    assert one == DiskEntry.of(InSet(Const({"c", "b", "a"})), False, LARGE)


def test_values_of_this_process_have_no_key() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own:
        name: str = "a"

    for constraint in (TypeIs(Const(Own)), Equals(Const(Own())), Custom(Const(len), ()), Equals(Const(object()))):
        assert DiskEntry.of(constraint, False, LARGE) is None


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 + number, 1000 + number))
    os.utime(tmp_path / "0.bin", (5000, 1000))  # used lately
    prune(tmp_path, 350)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.bin", "4.bin", "5.bin"]
    prune(tmp_path, 350)
    assert len([*tmp_path.iterdir()]) == 3

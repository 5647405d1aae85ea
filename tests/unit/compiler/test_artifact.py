"""`.lmqlc` files: the same program comes back; whatever is damaged, hostile or of another version is refused with ArtifactError."""

from __future__ import annotations

import ast
import io
import json
import random
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmqlc.compiler import artifact
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.emit.python import emit_python
from lmqlc.compiler.ir import Program
from lmqlc.compiler.ir_print import print_ir
from lmqlc.grammar.errors import ArtifactError
from lmqlc.grammar.source import Source

TEXT = """
x = [1, 2.5, 1e999, 3j, b"bytes\\xff", ..., None, True, 0x{large}, "\\ud800ä", -0.0]
"[X: int]" where X in ["a", "b"] and type(X) is int and JSON(X, {{"a": [1, None, True, 2.5]}}) and len(X) < n
match x:
    case {{"k": [1, *_]}} | None: pass
""".format(large="f" * 5000)


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_source(Source("q.lmql", TEXT))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(*files: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return made.getvalue()


def changed(program: Program, change: Callable[[Any], object]) -> bytes:
    """The artifact with its JSON changed."""
    made = json.loads(members(artifact.to_bytes(program))["program.json"])
    change(made)
    return zipped(("program.json", json.dumps(made).encode()))


def same(one: Program, other: Program) -> bool:
    return (print_ir(one), emit_python(one), one.source) == (print_ir(other), emit_python(other), other.source)


def test_round_trip(program: Program, tmp_path: Path) -> None:
    arrays = {
        "v": np.arange(6, dtype=np.uint16).reshape(2, 3),
        "f": np.asfortranarray(np.ones((2, 3), np.int32)),
        "empty": np.zeros((0, 4), np.bool_),
    }
    artifact.save(program, tmp_path / "q.lmqlc", arrays)
    loaded, found = artifact.load(tmp_path / "q.lmqlc")
    assert same(loaded, program)
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable or not array.size
        assert found[name].ctypes.data % 64 == 0 or not array.size  # mapped, on a boundary of the file
    assert [path.name for path in tmp_path.iterdir()] == ["q.lmqlc"]


def test_bytes_are_deterministic(program: Program) -> None:
    arrays = {"b": np.arange(3), "a": np.arange(4)}
    assert artifact.to_bytes(program, arrays) == artifact.to_bytes(program, dict(reversed(arrays.items())))


def test_constants_are_exact(program: Program) -> None:
    loaded, _ = artifact.from_bytes(artifact.to_bytes(program))
    found = []
    for one in (program, loaded):
        constants = [node.value for node in ast.walk(one.body) if isinstance(node, ast.Constant)]
        found.append([(type(value), value) for value in constants])
    assert found[0] == found[1]
    assert {type(value) for _, value in found[0]} >= {int, float, complex, bytes, bool, str, type(None), type(...)}


def test_another_python_compiles_again(program: Program) -> None:
    def older(made: Any) -> None:
        made["python"] = "3.1"
        made["program"]["body"] = None

    loaded, _ = artifact.from_bytes(changed(program, older))
    assert same(loaded, program)


def refused(data: bytes, *words: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        artifact.from_bytes(data)
    assert all(word in raised.value.message for word in words), raised.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made.update(format=3), ("format 3", "compile the program again")),
        (lambda made: made.pop("format"), ("holds no program",)),
        (lambda made: made["program"].update(version=99), ("version 99", "compile the program again")),
        (lambda made: made["program"].pop("version"), ("damaged",)),
        (lambda made: made["program"].pop("body"), ("damaged",)),
        (lambda made: made["program"].update(body={"$node": "Module", "body": []}), ("damaged",)),
        (lambda made: made["program"].update(body={"$node": "NodeVisitor"}), ("damaged",)),
        (lambda made: made["program"].update(body={"$node": "parse"}), ("damaged",)),
        (lambda made: made["program"]["body"].update(extra=1), ("damaged",)),
        (lambda made: made["program"].update(holes=5), ("damaged",)),
        (lambda made: made["program"]["holes"][0].update(span={"$span": [0, 10**9]}), ("damaged",)),
        (lambda made: made["program"]["holes"][0].update(constraint={"$constraint": "Slot", "index": 0}), ("damaged",)),
        (lambda made: made["program"]["holes"][0].update(constraint={"$constraint": "Not", "arg": 5}), ("damaged",)),
        (lambda made: made["program"]["holes"][0].update(constraint={"$evil": 1}), ("damaged",)),
        (lambda made: made["program"].update(decoder=["argmax"]), ("damaged",)),
        (lambda made: made["program"].update(parameters=["a b"]), ("damaged",)),
        (lambda made: made.update(program=[]), ("damaged",)),
    ],
)
def test_wrong_programs_are_refused(program: Program, change: Callable[[Any], object], words: tuple[str, ...]) -> None:
    refused(changed(program, change), *words)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", b"\x7fELF" * 50, b"PK\x03\x04" + b"\0" * 100, b"PK\x05\x06" + b"\0" * 18])
def test_other_files_are_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize(
    "data",
    [
        zipped(("program.json", b"{")),
        zipped(("program.json", b"[]")),
        zipped(("program.json", b"\xff\xfe")),
        zipped(("program.json", b"[" * 200_000)),
        zipped(("program.json", b'{"format": 1' + b"0" * 5000 + b"}")),
        zipped(("other.json", b"{}")),
        zipped(("../program.json", b"{}")),
        zipped(("arrays/x.npy", b"")),
        zipped(("arrays.bin", b"")),
        zipped(("/program.json", b"{}")),
    ],
)
def test_wrong_members_are_refused(data: bytes) -> None:
    refused(data)


def test_members_beside_a_program(program: Program) -> None:
    good = members(artifact.to_bytes(program))["program.json"]
    refused(zipped(("program.json", good), ("evil.py", b"print()")), "unknown member")
    refused(zipped(("program.json", good), ("arrays.bin", b"no array")), "too short")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(("program.json", good), ("program.json", good))
    refused(twice, "two members")


def packed(entry: object, data: bytes = b"\0" * 8, *, magic: bytes = b"LMQARR", version: int = 1) -> bytes:
    header = json.dumps({"meta": {}, "arrays": [entry]}).encode()
    head = struct.pack("<6sHQ", magic, version, len(header)) + header
    return head.ljust(-(-len(head) // 64) * 64, b"\0") + data


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize(
    "data",
    [
        packed(["x", "<i8", [1000000000000], 0]),
        packed(["x", "<i8", [-1], 0]),
        packed(["x", "|O", [1], 0]),
        packed(["x", "<i8", [2], 0]),
        packed(["x", "<i8", [1], 8]),
        packed(["x", "<i8", [1], -8]),
        packed(["x", "<i8", "1", 0]),
        packed(["x", "<i8", [True], 0]),
        packed(["x"]),
        packed(["x", "<i8", [1], 0], magic=b"LMQARX"),
        packed(["x", "<i8", [1], 0], version=9),
    ],
)
def test_wrong_arrays_are_refused(program: Program, data: bytes, compression: int) -> None:
    good = members(artifact.to_bytes(program))["program.json"]
    refused(zipped(("program.json", good), ("arrays.bin", data), compression=compression))


def test_compressed_arrays_are_read(program: Program) -> None:
    """By whatever zip program an artifact was packed again."""
    data = artifact.to_bytes(program, {"v": np.arange(5)})
    again = zipped(*members(data).items())
    assert artifact.from_bytes(again)[1]["v"].tolist() == [0, 1, 2, 3, 4]


def test_a_flipped_bit_of_an_array_is_found(program: Program) -> None:
    data = bytearray(artifact.to_bytes(program, {"v": np.arange(1000, dtype=np.int32)}))
    data[data.index(struct.pack("<3i", 500, 501, 502))] ^= 4
    refused(bytes(data), "damaged")


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    size = artifact.MAX_PROGRAM + 1
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(squeezed.compress(b" " * (1 << 20)) for _ in range(65)) + squeezed.flush()
    small = bytearray(zipped(("program.json", b"x"), compression=zipfile.ZIP_STORED))
    at = small.index(b"PK\x01\x02")
    small[at + 24 : at + 28] = struct.pack("<I", size)
    refused(bytes(small), "too large")
    assert len(body) < 1 << 20
    data = zipped(("program.json", b" " * size))
    assert len(data) < 1 << 20
    refused(data, "too large")


def test_a_member_longer_than_it_says_is_refused(program: Program) -> None:
    data = bytearray(artifact.to_bytes(program))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    refused(bytes(data), "damaged")


def test_encrypted_members_are_refused(program: Program) -> None:
    data = bytearray(artifact.to_bytes(program))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    refused(bytes(data), "damaged")


def test_damage_anywhere_is_refused_or_harmless(program: Program) -> None:
    """Bytes flipped, cut off or put in: the program comes back as it was, or not at all."""
    data = artifact.to_bytes(program, {"v": np.arange(10)})
    dice = random.Random(1)
    outcomes = set()
    for _ in range(400):
        broken = bytearray(data)
        at = dice.randrange(len(broken))
        kind = dice.choice(["flip", "cut", "insert"])
        if kind == "flip":
            broken[at] ^= 1 << dice.randrange(8)
        elif kind == "cut":
            del broken[at:]
        else:
            broken[at:at] = dice.randbytes(3)
        try:
            loaded, _ = artifact.from_bytes(bytes(broken))
        except ArtifactError:
            outcomes.add("refused")
        else:
            assert same(loaded, program)
            outcomes.add("harmless")
    assert "refused" in outcomes


def test_files_that_cannot_be_read_or_written(program: Program, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read"):
        artifact.load(tmp_path / "missing.lmqlc")
    with pytest.raises(ArtifactError, match="cannot read"):
        artifact.load(tmp_path)
    with pytest.raises(ArtifactError, match="cannot write"):
        artifact.save(program, tmp_path / "no" / "q.lmqlc")
    with pytest.raises(ArtifactError, match=r"q\.lmqlc: this is no artifact"):
        (tmp_path / "q.lmqlc").write_text("hello")
        artifact.load(tmp_path / "q.lmqlc")


def test_loading_needs_no_numpy_and_no_parser(program: Program, tmp_path: Path) -> None:
    import subprocess

    artifact.save(program, tmp_path / "q.lmqlc")
    code = (
        "import sys; from lmqlc.compiler.artifact import load; load(sys.argv[1]); "
        "print([name for name in ('numpy', 'lark', 'torch', 'lmqlc.grammar.parse') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "q.lmqlc")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""`.lmqlc` files: a compiled program, and arrays that belong to it, in a zip.

    program.json   format version, Python version, and the program (`artifact_json.py`)
    arrays.bin     named arrays (`masks/files.py`), not compressed and on a 64-byte boundary: they are used where the file is mapped

The comment of the zip is the CRC-32 of all that stands before its last record, so that a file of which any byte has changed is refused. The
same program gives the same bytes. A file is read with bounds on everything it says about itself, and nothing in it is executed; running
the program it holds is as safe as running its author's Python. Syntax trees belong to one version of Python: under another one the program
is compiled again from its text, which the file holds too.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from lmqlc.compiler.artifact_json import program_from_json, program_to_json, source_from_json
from lmqlc.compiler.code import compile_body
from lmqlc.compiler.ir import VERSION, Program
from lmqlc.compiler.ir_check import IrError, ir_check
from lmqlc.grammar.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]
    Mapped = bytes | mmap.mmap

FORMAT = 2
PROGRAM = "program.json"
ARRAYS = "arrays.bin"
MAX_PROGRAM = 64 << 20
"""Bytes of `program.json`."""
MAX_ARRAYS = 1 << 30
"""Bytes of all arrays together."""

_ALIGN = 64
_LOCAL_HEADER = 30
"""Bytes of a member's header before its name."""
_EXTRA = struct.Struct("<HHH")
_ALIGNMENT = 0xD935
"""The id of the extra field with which zips align the data of a member."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_AGAIN = "compile the program again with `lmqlc compile`"
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    MemoryError, SyntaxError, IrError, struct.error,
)  # fmt: skip
"""What the standard library, Python's compiler and our own checks raise for damaged zips, JSON, syntax trees and arrays."""


# -- writing -----------------------------------------------------------------------------------------------------------


def save(program: Program, path: str | os.PathLike[str], arrays: Arrays | None = None) -> None:
    """Write a program, and arrays by name, to a file; a file of that name is replaced as a whole."""
    data = to_bytes(program, arrays)
    target = Path(path)
    part = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ArtifactError(f"cannot write {target}: {error.strerror or error}") from error


def to_bytes(program: Program, arrays: Arrays | None = None) -> bytes:
    """The bytes of an artifact."""
    header = {"format": FORMAT, "python": _python(), "program": program_to_json(program)}
    members = {PROGRAM: json.dumps(header, separators=(",", ":"), allow_nan=False).encode("ascii")}
    if arrays:
        from lmqlc.compiler.masks.files import pack_arrays

        members[ARRAYS] = pack_arrays(dict(sorted(arrays.items())), {})
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.comment = bytes(len(_comment(0)))
        for member, data in members.items():
            info = zipfile.ZipInfo(member, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            if member == ARRAYS:
                info.extra = _alignment(made.tell() + _LOCAL_HEADER + len(member))
            else:
                info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    whole = made.getvalue()[: -len(_comment(0))]
    return whole + _comment(zlib.crc32(whole[: -_LAST.size]))


def _comment(checksum: int) -> bytes:
    """The comment of a zip with a checksum."""
    return b"lmqlc crc32 %08x" % checksum


def _alignment(place: int) -> bytes:
    """The extra field at a place in the file after which data stand on a boundary."""
    fill = -(place + _EXTRA.size) % _ALIGN
    return _EXTRA.pack(_ALIGNMENT, 2 + fill, _ALIGN) + bytes(fill)


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


# -- reading -----------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> tuple[Program, dict[str, np.ndarray[Any, Any]]]:
    """The program and the arrays of a file. Raises ArtifactError for one that is missing, damaged, hostile, or of another version."""
    try:
        with Path(path).open("rb") as file:
            return _read(file, _mapped(file))
    except OSError as error:
        raise ArtifactError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    except ArtifactError as error:
        raise ArtifactError(f"{os.fspath(path)}: {error.message}") from error.__cause__


def from_bytes(data: bytes) -> tuple[Program, dict[str, np.ndarray[Any, Any]]]:
    """The program and the arrays of an artifact's bytes."""
    return _read(io.BytesIO(data), data)


def _mapped(file: IO[bytes]) -> Mapped:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""


def _read(file: IO[bytes], whole: Mapped) -> tuple[Program, dict[str, np.ndarray[Any, Any]]]:
    """What a file holds. whole: all its bytes; arrays are used where they lie in them."""
    if whole[:2] != b"PK":
        raise ArtifactError(f"this is no artifact; {_AGAIN}")
    try:
        _check_whole(whole)
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            program = _program(archive.read(PROGRAM))
            return program, _arrays(archive, members[ARRAYS], whole) if ARRAYS in members else {}
    except _BROKEN as error:
        raise ArtifactError(f"the artifact is damaged ({_first_line(error)}); {_AGAIN}") from error


def _check_whole(whole: Mapped) -> None:
    """Raises ArtifactError where a byte has changed: the last record is not as it was written, or what stands before it has another sum
    than the comment. A zip that other tools wrote has no comment; then its members have checksums of their own."""
    size = len(_comment(0))
    for length in (0, size):
        begin = len(whole) - length - _LAST.size
        if begin < 0:
            break
        magic, disk, first, here, members, directory, offset, said = _LAST.unpack(whole[begin : begin + _LAST.size])
        if magic != b"PK\5\6" or said != length or disk or first or here != members or directory + offset != begin:
            continue
        with memoryview(whole) as view, view[:begin] as before:
            if not length or bytes(whole[-size:]) == _comment(zlib.crc32(before)):
                return
    raise ArtifactError(f"the artifact is damaged; {_AGAIN}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by name. Everything a member says about itself is checked before it is read."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name not in (PROGRAM, ARRAYS):
            raise ArtifactError(f"the artifact has an unknown member {name[:80]!r}; it may be of a later version: {_AGAIN}")
        if name in found:
            raise ArtifactError(f"the artifact has two members {name!r}; {_AGAIN}")
        found[name] = info
    if PROGRAM not in found:
        raise ArtifactError(f"the artifact holds no program; {_AGAIN}")
    if found[PROGRAM].file_size > MAX_PROGRAM or (ARRAYS in found and found[ARRAYS].file_size > MAX_ARRAYS):
        raise ArtifactError("the artifact is too large to be read")
    return found


def _program(data: bytes) -> Program:
    made = json.loads(data)
    if not isinstance(made, dict) or "format" not in made:
        raise ArtifactError(f"the artifact holds no program; {_AGAIN}")
    if made["format"] != FORMAT:
        raise ArtifactError(f"the artifact has format {made['format']!r}, this version reads {FORMAT}; {_AGAIN}")
    given = made["program"]
    if given["version"] != VERSION:
        raise ArtifactError(f"the program has IR version {given['version']!r}, this version reads {VERSION}; {_AGAIN}")
    if made["python"] != _python():
        return _recompiled(given)
    program = program_from_json(given)
    ir_check(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        compile_body(program)  # refuses trees that are no Python
    return program


def _recompiled(given: Any) -> Program:
    """The program compiled again, for the Python that runs."""
    from lmqlc.compiler.driver import compile_source

    surrounding = frozenset(name for name in [*given["parameters"], *given["optional"]] if isinstance(name, str))
    return compile_source(source_from_json(given["source"]), surrounding=surrounding)


def _arrays(archive: zipfile.ZipFile, info: zipfile.ZipInfo, whole: Mapped) -> dict[str, np.ndarray[Any, Any]]:
    """The named arrays, in place where they are not compressed."""
    from lmqlc.compiler.masks.files import unpack_arrays

    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        return unpack_arrays(archive.read(info), ARRAYS)[0]
    view = memoryview(whole)
    name, extra = _LENGTHS.unpack_from(view, info.header_offset + _LOCAL_HEADER - _LENGTHS.size)
    start = info.header_offset + _LOCAL_HEADER + name + extra
    data = view[start : start + info.file_size]
    if len(data) != info.file_size or (not archive.comment and zlib.crc32(data) != info.CRC):
        raise ArtifactError(f"the arrays of the artifact are damaged; {_AGAIN}")
    return unpack_arrays(data, ARRAYS)[0]


_LAST = struct.Struct("<4s4H2LH")
"""The last record of a zip before its comment: magic, this disk, that of the directory, members here and in all, size and place of the
directory, length of the comment."""
_LENGTHS = struct.Struct("<HH")
"""How long the name and the extra field of a member are; the last words of its local header."""
_ENCRYPTED = 1

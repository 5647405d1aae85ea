"""`.lmqlc` files: a compiled program, and arrays that belong to it, in a zip of JSON and `.npy`.

    program.json      format version, Python version, and the program (`artifact_json.py`)
    arrays/NAME.npy   any number of arrays, in numpy's own format

The same program gives the same bytes. A file is read with bounds on everything it says about itself, and nothing in it is executed; running
the program it holds is as safe as running its author's Python. Syntax trees belong to one version of Python: under another one the program
is compiled again from its text, which the file holds too.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lmqlc.compiler.artifact_json import program_from_json, program_to_json, source_from_json
from lmqlc.compiler.code import compile_body
from lmqlc.compiler.ir import VERSION, Program
from lmqlc.compiler.ir_check import IrError, ir_check
from lmqlc.grammar.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

FORMAT = 1
PROGRAM = "program.json"
MAX_MEMBERS = 10_000
MAX_PROGRAM = 64 << 20
"""Bytes of `program.json`."""
MAX_ARRAYS = 1 << 30
"""Bytes of all arrays together."""

_ARRAY = re.compile(r"arrays/([A-Za-z0-9_][A-Za-z0-9_.-]{0,199})\.npy")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_AGAIN = "compile the program again with `lmqlc compile`"
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    MemoryError, SyntaxError, IrError,
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
    for name, array in (arrays or {}).items():
        member = f"arrays/{name}.npy"
        if not _ARRAY.fullmatch(member):
            raise ArtifactError(f"{name!r} cannot name an array of an artifact: use letters, digits, `_`, `-` and `.`")
        members[member] = _array_bytes(array)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for member in sorted(members):
            info = zipfile.ZipInfo(member, _EPOCH)
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, members[member])
    return made.getvalue()


def _array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    import numpy as np

    made = io.BytesIO()
    np.lib.format.write_array(made, np.ascontiguousarray(array), allow_pickle=False)
    return made.getvalue()


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


# -- reading -----------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> tuple[Program, dict[str, np.ndarray[Any, Any]]]:
    """The program and the arrays of a file. Raises ArtifactError for one that is missing, damaged, hostile, or of another version."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    try:
        return from_bytes(data)
    except ArtifactError as error:
        raise ArtifactError(f"{os.fspath(path)}: {error.message}") from error.__cause__


def from_bytes(data: bytes) -> tuple[Program, dict[str, np.ndarray[Any, Any]]]:
    """The program and the arrays of an artifact's bytes."""
    if not data.startswith(b"PK"):
        raise ArtifactError(f"this is no artifact; {_AGAIN}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
            program = _program(archive.read(members.pop(PROGRAM)))
            return program, {name: _array(archive.read(info), name) for name, info in members.items()}
    except _BROKEN as error:
        raise ArtifactError(f"the artifact is damaged ({_first_line(error)}); {_AGAIN}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """`program.json`, and the arrays by name. Everything a member says about itself is checked before it is read."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ArtifactError(f"the artifact has {len(infos)} members; at most {MAX_MEMBERS} are read")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        match = _ARRAY.fullmatch(info.orig_filename)
        name = match[1] if match else info.orig_filename
        if name != PROGRAM and match is None:
            raise ArtifactError(f"the artifact has an unknown member {name[:80]!r}; it may be of a later version: {_AGAIN}")
        if name in found:
            raise ArtifactError(f"the artifact has two members {name!r}; {_AGAIN}")
        found[name] = info
    if PROGRAM not in found:
        raise ArtifactError(f"the artifact holds no program; {_AGAIN}")
    if found[PROGRAM].file_size > MAX_PROGRAM or sum(info.file_size for info in infos) - found[PROGRAM].file_size > MAX_ARRAYS:
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


def _array(data: bytes, name: str) -> np.ndarray[Any, Any]:
    """An array whose header was checked against the bytes it has."""
    import numpy as np

    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ArtifactError(f"the array {name!r} has format {version}; {_AGAIN}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    rest = data[file.tell() :]
    count = 1
    for size in shape:
        count *= size
    if dtype.hasobject or any(size < 0 for size in shape) or count * dtype.itemsize != len(rest):
        raise ArtifactError(f"the array {name!r} is damaged; {_AGAIN}")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")

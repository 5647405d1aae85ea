"""Named arrays in one file, mapped into memory without copying; files of the cache, whose every byte is checked; and where they live.

A file of the cache is a seal of 64 bytes and its content. The seal (little-endian) has the magic `LMQSUM`, uint16 version, uint64 length
and uint32 CRC-32 of the content, the SHA-256 of the file's name, and the CRC-32 of all that. It is checked when the file is opened (a
quarter of a millisecond for a megabyte): a file that is damaged, cut short, or another one under this name is removed.

Layout of arrays, little-endian: the magic `LMQARR`, uint16 format version, uint64 length of the header, the header (JSON: `meta`, any JSON
object, and `arrays`, a list of `[name, dtype, shape, offset]` with offsets from the start of the data), then the data, every array on a
64-byte boundary. Nothing is pickled. Opening maps the file and checks the header; the arrays themselves are read when they are used.
Files appear by an atomic rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.grammar.errors import ArtifactError

Array = npt.NDArray[Any]

MAGIC = b"LMQARR"
FORMAT_VERSION = 1
_ALIGN = 64
_HEAD = struct.Struct("<6sHQ")
_SEAL, _SEAL_VERSION = b"LMQSUM", 1
_SEALED = struct.Struct("<6sHQI32s")
_SUM = struct.Struct("<I")
_DTYPES = {name: np.dtype(name) for name in ("|b1", "|u1", "<u2", "<u4", "<i2", "<i4", "<i8", "<f4")}


def cache_folder() -> Path:
    """`$LMQLC_CACHE`, else `$XDG_CACHE_HOME/lmqlc`, else `~/.cache/lmqlc`. Not created here. `LMQLC_CACHE=off`: a place where nothing can
    be written or found."""
    named = os.environ.get("LMQLC_CACHE")
    if named == "off":
        return Path(os.devnull)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lmqlc"


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


def pack_arrays(arrays: Mapping[str, Array], meta: Mapping[str, object]) -> bytes:
    """The file's bytes. Arrays of other types than bool, uint8/16/32, int16/32/64 and float32 raise ValueError."""
    entries, chunks, offset = [], [], 0
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array)
        dtype = flat.dtype.newbyteorder("<").str
        if dtype not in _DTYPES:
            raise ValueError(f"array {name!r} has the type {flat.dtype}, which files do not hold")
        data = flat.astype(_DTYPES[dtype], copy=False).tobytes()
        entries.append([name, dtype, list(array.shape), offset])
        chunks.append(data.ljust(_aligned(len(data)), b"\0"))
        offset += len(chunks[-1])
    header = json.dumps({"meta": dict(meta), "arrays": entries}, sort_keys=True).encode()
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, len(header)) + header
    return head.ljust(_aligned(len(head)), b"\0") + b"".join(chunks)


def write_arrays(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, object]) -> None:
    """`write_file` for arrays."""
    write_file(path, pack_arrays(arrays, meta))


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays (read-only, mapped) and the meta object of a file. Raises as `read_file`, and ArtifactError for what is malformed."""
    return unpack_arrays(read_file(path), path.name)


def write_file(path: Path, content: bytes) -> None:
    """Write a file of the cache and rename it into place. Raises OSError where the folder cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_seal(path.name, len(content), zlib.crc32(content)))
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_file(path: Path) -> memoryview:
    """The content of a file that `write_file` wrote, mapped. Raises OSError; ArtifactError for any other file, which is removed."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # a file object would cost as much as the rest
    try:
        size = os.fstat(file).st_size
        data = mmap.mmap(file, 0, access=mmap.ACCESS_READ) if size >= _ALIGN else None
    finally:
        os.close(file)
    if data is not None:
        content = memoryview(data)[_ALIGN:]
        if data[:_ALIGN] == _seal(path.name, len(content), zlib.crc32(content)):
            return content
        content.release()
        data.close()
    drop_file(path)
    raise ArtifactError(f"{path.name}: damaged, or of another release")


def drop_file(path: Path) -> None:
    """Remove a file of the cache, where that can be done."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _seal(name: str, length: int, checksum: int) -> bytes:
    """The first bytes of a file of the cache."""
    said = _SEALED.pack(_SEAL, _SEAL_VERSION, length, checksum, hashlib.sha256(name.encode()).digest())
    return (said + _SUM.pack(zlib.crc32(said))).ljust(_ALIGN, b"\0")


def unpack_arrays(data: bytes | mmap.mmap | memoryview, name: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays over `data`, without copying. `name` is for error messages. Raises ArtifactError."""
    if len(data) < _HEAD.size:
        raise ArtifactError(f"{name}: too short to hold arrays")
    magic, version, length = _HEAD.unpack(data[: _HEAD.size])
    if magic != MAGIC:
        raise ArtifactError(f"{name}: not a file of arrays")
    if version != FORMAT_VERSION:
        raise ArtifactError(f"{name}: format version {version}; this release reads version {FORMAT_VERSION}")
    if length > len(data) - _HEAD.size:
        raise ArtifactError(f"{name}: cut short")
    try:
        header = json.loads(bytes(data[_HEAD.size : _HEAD.size + length]))
        entries, meta = header["arrays"], header["meta"]
        start = _aligned(_HEAD.size + length)
        arrays = {str(entry[0]): _view(data, entry, start, name) for entry in entries}
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ArtifactError(f"{name}: damaged header") from error
    if not isinstance(meta, dict):
        raise ArtifactError(f"{name}: damaged header")
    return arrays, meta


def _view(data: bytes | mmap.mmap | memoryview, entry: list[Any], start: int, name: str) -> Array:
    """One array of the header's list; every number in it is untrusted."""
    key, dtype_name, shape, offset = entry
    dtype = _DTYPES.get(dtype_name) if isinstance(dtype_name, str) else None
    if dtype is None or not all(type(number) is int and number >= 0 for number in (offset, *shape)):
        raise ArtifactError(f"{name}: the array {key!r} is described wrongly")
    count = math.prod(shape)
    if start + offset + count * dtype.itemsize > len(data):
        raise ArtifactError(f"{name}: the array {key!r} is cut short")
    if not count:
        return np.zeros(shape, dtype)
    return np.ndarray(shape, dtype, data, start + offset)

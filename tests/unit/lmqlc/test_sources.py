"""Where programs come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmqlc.grammar.errors import LmqlError, LmqlSyntaxError
from lmqlc.sources import read_source, source_of


def test_text_and_paths(tmp_path: Path) -> None:
    file = tmp_path / "q.lmql"
    file.write_bytes('\ufeff"é[X]"\r\n'.encode())
    assert source_of('"[X]"').name == "<string>"
    assert source_of(str(file)).text == source_of(file).text == '\ufeff"é[X]"\r\n'


def test_a_missing_file_names_a_similar_one(tmp_path: Path) -> None:
    (tmp_path / "hello.lmql").write_text("")
    with pytest.raises(LmqlError, match=r"there is no file .*helo\.lmql'; did you mean '.*hello\.lmql'"):
        read_source(tmp_path / "helo.lmql")
    with pytest.raises(LmqlError, match="there is no file"):
        source_of("nowhere/at/all.lmql")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LmqlError, match="cannot read"):
        read_source(tmp_path)
    with pytest.raises(LmqlError, match="cannot read"):
        read_source("a\0b")


def test_other_encodings_are_a_diagnostic(tmp_path: Path) -> None:
    file = tmp_path / "latin.lmql"
    file.write_bytes("x = 1\n'ü'\n".encode("latin-1"))
    with pytest.raises(LmqlSyntaxError) as caught:
        read_source(file)
    assert caught.value.diagnostics[0].code == "L0001"
    assert "byte 0xfc at offset 7, line 2" in caught.value.message

"""`lmqlc fmt`: what is laid out how, what stays, and that nothing changes its meaning."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from lmqlc.__main__ import main
from lmqlc.format.program import candidates, format_source
from lmqlc.grammar.dump import same
from lmqlc.grammar.errors import LmqlSyntaxError
from lmqlc.grammar.parse import parse
from lmqlc.grammar.source import Source

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = sorted([*(ROOT / "examples").rglob("*.lmql"), *(ROOT / "tests" / "cases").rglob("*.lmql")])


def formatted(text: str, width: int = 60, *, prompts: bool = True) -> str:
    """The formatted text, which must be the first choice of the formatter, mean the same, and stay when it is formatted again."""
    result = format_source(Source("<t>", text), width=width, prompts=prompts)
    query = parse(text, prompts=prompts)
    assert result == next(iter(candidates(query, width, prompts=prompts))), "laying out changed the meaning"
    assert same(parse(result, prompts=prompts), query)
    assert format_source(Source("<t>", result), width=width, prompts=prompts) == result
    return result


LAID_OUT = {
    "blanks": ('"a[X]"   where   len( X )<3', '"a[X]" where len(X) < 3\n'),
    "below": ('"a[X]"\n  where len(X) < 3\n', '"a[X]" where len(X) < 3\n'),
    "continued": ('"a[X]" \\\n    where X in ["a",\n  "b"]\n', '"a[X]" where X in ["a", "b"]\n'),
    "long": (
        '"A long prompt with [A]" where STOPS_AT(A, "\\n") and len(TOKENS(A)) < 20 and A != "x"\n',
        '"A long prompt with [A]"\n    where STOPS_AT(A, "\\n")\n    and len(TOKENS(A)) < 20\n    and A != "x"\n',
    ),
    "long or": (
        '"A long prompt with [A]" where A.startswith("aaaa") and len(A) < 20 or A.endswith("bbbb")\n',
        '"A long prompt with [A]"\n    where A.startswith("aaaa") and len(A) < 20\n    or A.endswith("bbbb")\n',
    ),
    "two clauses": (
        '"The sentiment is [A]" where len(A) < 20 distribution A in ["positive", "negative"]\n',
        '"The sentiment is [A]"\n    where len(A) < 20\n    distribution A in ["positive", "negative"]\n',
    ),
    "in a block": (
        'for i in range(3):\n  "A long prompt with [A]" where STOPS_AT(A, "\\n") and len(A) < 20\n',
        'for i in range(3):\n  "A long prompt with [A]"\n      where STOPS_AT(A, "\\n") and len(A) < 20\n',
    ),
    "tabs": (
        'if 1:\n\t"A long prompt with [A]" where STOPS_AT(A, "\\n") and len(A) < 200\n',
        'if 1:\n\t"A long prompt with [A]"\n\t\twhere STOPS_AT(A, "\\n") and len(A) < 200\n',
    ),
    "holes": ('"[ A ] [B:int] [@f  C] [ @f(1,2) @g D :  list[ int ] ]"', '"[A] [B: int] [@f C] [@f(1, 2) @g D: list[int]]"\n'),
    "values": ('"{ x } { x!r:>8} { {1:2}[ 1 ] } {:user } {x = }"', '"{x} {x!r:>8} { {1: 2}[1] } {:user} {x = }"\n'),
    "quotes": ("'a' R'\\d' u'b'  '\"' 'it\\'s'\n", '"a" r"\\d" "b" \'"\' \'it\\\'s\'\n'),
    "header": ('argmax( max_len = 3 )   "a[X]"\n', 'argmax(max_len=3) "a[X]"\n'),
    "clauses of the program": (
        'argmax\n    "a[X]"\nfrom   "demo"\nwhere\n  len(X)<3\n',
        'argmax\n    "a[X]"\nfrom "demo"\nwhere\n    len(X) < 3\n',
    ),
    "one long line": (
        'argmax "Hello[WHO]" from "local:gpt2" where STOPS_AT(WHO, "\\n") and len(TOKENS(WHO)) < 10\n',
        'argmax "Hello[WHO]"\nfrom "local:gpt2"\nwhere STOPS_AT(WHO, "\\n") and len(TOKENS(WHO)) < 10\n',
    ),
    "ends of lines": ('x = 1  \n\n\n\n\ny = """a  \n\n\n\n b"""\t\n# c  \n\n\n', 'x = 1\n\n\ny = """a  \n\n\n\n b"""\n# c\n'),
    "signs": (
        '"[X]" where -1<int(X)<=+3 and f(*a,**k)[1:-1]==~b if c else(not d)\n',
        '"[X]" where -1 < int(X) <= +3 and f(*a, **k)[1:-1] == ~b if c else (not d)\n',
    ),
    "words": ('"[X]" where X in[i for i in(1,2)]and f(lambda a,*b:a,k=1 if c else{1:2})\n', None),
    "first lines": ("\n\n  \nx = 1", "x = 1\n"),
    "nothing": ("", ""),
    "only blanks": (" \n\t\n", ""),
    "windows": ('"a[X]"  where len(X)<3  \r\nx = 1', '"a[X]" where len(X) < 3\r\nx = 1\r\n'),
}


@pytest.mark.parametrize("name", LAID_OUT)
def test_layout(name: str) -> None:
    text, expected = LAID_OUT[name]
    found = formatted(text, width=90 if name == "signs" else 60)
    if expected is None:
        expected = '"[X]"\n    where X in [i for i in (1, 2)]\n    and f(lambda a, *b: a, k=1 if c else {1: 2})\n'
    assert found == expected


KEPT = {
    "comments in clauses": '"a[X]" where (  # why\n    len(X)  < 3 and  # and so\n    X !=  "b"\n)\n',
    "comment behind": '"a[X]" where len(X) < 3  # why\n',
    "python": "x=1;y = [1,\n   2]\ndef f( a ):\n  return(a)\n",
    "a second statement": '"a[X]" where len(X)  < 3; y = 1\n',
    "brackets around all": '("a[X]"\n   where len(X) < 3)\n',
    "one long condition": '"A long prompt with [A]" where A in [\n    "the first option of them all", "the second one of them",\n]\n',
    "docstrings": "def f():\n    'A  {x }'\n    return 1\n",
    "form feed": "x = 1\n\f\ny = 2\n",
    "an argument per line": 'sample(\n    n=2,\n    temperature=0.8,\n)\n    "a[X]"\n',
}


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(name: str) -> None:
    assert formatted(KEPT[name]) == KEPT[name]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_every_program_keeps_its_meaning(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    try:
        parse(text)
    except LmqlSyntaxError:
        with pytest.raises(LmqlSyntaxError):
            format_source(Source("<t>", text))
        return
    for width in (120, 40):
        formatted(text, width)


def test_examples_are_formatted() -> None:
    assert main(["fmt", "--check", str(ROOT / "examples")]) == 0


class TestCommand:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "q.lmql").write_text('"a[X]"   where len(X)<3\n')
        (tmp_path / "good.lmql").write_text('"a[X]"\n')

    def test_rewrites_files_of_a_folder(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("q.lmql").chmod(0o640)
        assert main(["fmt", "."]) == 0
        assert Path("q.lmql").read_text() == '"a[X]" where len(X) < 3\n'
        assert Path("q.lmql").stat().st_mode & 0o777 == 0o640
        assert capfd.readouterr() == ("", "formatted q.lmql\n1 file formatted, 1 unchanged\n")
        assert main(["fmt", "."]) == 0
        assert sorted(path.name for path in Path().iterdir()) == ["good.lmql", "q.lmql"]

    def test_check_and_diff_write_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        before = Path("q.lmql").read_text()
        assert main(["fmt", "--check", "q.lmql"]) == 1
        assert main(["fmt", "--check", "good.lmql"]) == 0
        assert main(["fmt", "--diff", "q.lmql"]) == 1
        out, err = capfd.readouterr()
        assert '-"a[X]"   where len(X)<3\n+"a[X]" where len(X) < 3\n' in out
        assert "would format q.lmql" in err
        assert Path("q.lmql").read_text() == before

    def test_standard_input(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        for arguments, code in ((["-"], 0), (["--check", "-"], 1)):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('"é[X]"  where len(X)<3'.encode())))
            assert main(["fmt", *arguments]) == code
        assert capfd.readouterr() == ('"é[X]" where len(X) < 3\n', "")

    def test_what_is_no_program_stays(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("bad.lmql").write_text('"a[X"  \n')
        assert main(["fmt", "bad.lmql", "q.lmql", "absent.lmql"]) == 1
        err = capfd.readouterr().err
        assert "bad.lmql:1:3: error[L0201]" in err
        assert "there is no file 'absent.lmql'" in err
        assert "1 file formatted, 0 unchanged, 2 cannot be read as programs" in err
        assert Path("bad.lmql").read_text() == '"a[X"  \n'

    def test_links_and_usage(self) -> None:
        Path("link.lmql").symlink_to("q.lmql")
        assert main(["fmt", "link.lmql"]) == 0
        assert Path("link.lmql").is_symlink()
        assert Path("q.lmql").read_text() == '"a[X]" where len(X) < 3\n'
        assert main(["fmt", "-", "q.lmql"]) == 2
        assert main(["fmt"]) == 2

"""`lmqlc explain`, `lmqlc compile --emit` for holes, and artifacts for several tokenizers."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import lmqlc
from lmqlc.__main__ import main
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import scripted
from lmqlc.compiler.emit.svg import emit_svg
from lmqlc.emitting import language

PROGRAM = """\
"[D]-" where REGEX(D, r"[a-c]{2}") and D != "ab"
"[W]" where W in words
"[J]" where JSON(J)
"[T]" where len(TOKENS(T)) < 3 and T.isdigit()
"[L]" where len(L) < 200 and not "\\n" in L
"[ANY]"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.lmql").write_text(PROGRAM)
    (tmp_path / "one.lmql").write_text('"[D]" where REGEX(D, r"[a-c]{2}")\n')
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2, "ab": 3, "-": 4}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def blocks(text: str) -> dict[str, str]:
    """The parts about each hole."""
    return {part.split(" ", 1)[0]: part for part in text.split("\n\n")[1:]}


@pytest.mark.usefixtures("folder")
class TestExplain:
    def test_every_kind_of_hole(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "q.lmql"]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        assert out.startswith("decoder: argmax\narguments: words\n")
        shown = blocks(out)
        assert "D at q.lmql:1:2" in shown["D"]
        assert "followed by: '-'" in shown["D"]
        assert "exact masks" in shown["D"]
        assert re.search(r"automaton: +\d+ states, \d+ byte classes\n", shown["D"])
        assert re.search(r"shortest: +'aa'\n +'ac'\n +'ba'\n", shown["D"])
        assert re.search(r"depends on: +words\n", shown["W"])
        assert "not exact" in shown["J"]
        assert "2 ranges of token counts" in shown["T"]
        assert "at most 199 characters" in shown["L"]
        assert "the model's own words" in shown["ANY"]

    def test_the_language_is_a_pattern_for_the_same_texts(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "q.lmql"]) == 0
        found = re.search(r"language: +(.+)\n", blocks(capfd.readouterr().out)["D"])
        assert found is not None
        texts = [a + b for a in "abcd" for b in "abcd"]
        assert [text for text in texts if re.fullmatch(found[1], text)] == ["aa", "ac", "ba", "bb", "bc", "ca", "cb", "cc"]

    def test_random_texts_are_texts_of_the_hole_and_the_same_ones_every_time(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "one.lmql"]) == 0
        first = capfd.readouterr().out
        shown = re.search(r"random: +('..')\n +('..')\n +('..')\n", first)
        assert shown is not None
        assert all(re.fullmatch("'[a-c]{2}'", text) for text in shown.groups())
        assert len(set(shown.groups())) == 3
        assert main(["explain", "one.lmql"]) == 0
        assert capfd.readouterr().out == first

    def test_tokens(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "one.lmql", "--tokenizer", "tokenizer.json"]) == 0
        assert re.search(r"tokens: +\d+ token classes, \d distinct masks, 0\.0\d MB, 5 tokens \(tokenizer.json\)\n", capfd.readouterr().out)
        Path("digits.lmql").write_text('"[N]" where REGEX(N, "[0-9]+")')
        assert main(["explain", "digits.lmql", "--tokenizer", "tokenizer.json"]) == 0
        assert "no text meets the constraint with this model's vocabulary" in capfd.readouterr().out

    def test_at_servers(self, capfd: pytest.CaptureFixture[str]) -> None:
        """No server is asked."""
        assert main(["explain", "q.lmql", "--model", "vllm/m"]) == 0
        shown = [line.strip() for line in capfd.readouterr().out.splitlines() if "guarantee:" in line]
        assert shown[0].startswith("guarantee:   at vLLM, delegated: the server enforces a grammar")
        assert "as found when the hole is reached" in shown[1]
        assert "checked: the text is judged as it arrives" in shown[2]
        assert "at most 2 tokens" in shown[3]
        assert "nothing to hold" in shown[5]
        assert main(["explain", "q.lmql", "--model", "openai/m"]) == 0
        assert "at OpenAI, checked: the text is judged" in capfd.readouterr().out
        assert main(["explain", "q.lmql", "--model", "demo"]) == 0
        assert "exact masks" in capfd.readouterr().out

    def test_how_argmax_finds_the_text(self, capfd: pytest.CaptureFixture[str]) -> None:
        def shown(text: str, *arguments: str) -> list[str]:
            Path("few.lmql").write_text(text)
            assert main(["explain", "few.lmql", *arguments]) == 0
            return re.findall(r"argmax: +(.+)\n", capfd.readouterr().out)

        where = '"[X]" where X in ["a", "ab", "b"]\n"[Y]" where len(TOKENS(Y)) < 3\n"[Z]" where REGEX(Z, "[0-9]+")\n"[U]"\n'
        greedy = "token by token, and not the likeliest text: "
        expected = ["exact: the likeliest of 3 texts", f"{greedy}it counts tokens", f"{greedy}there is no longest text"]
        assert shown(where) == expected
        assert shown(where, "--model", "vllm/m")[0].startswith(f"{expected[0]}, where vLLM can score them: up to 64")
        assert shown(where, "--model", "openai/m")[0] == "token by token: OpenAI does not score given texts"
        assert shown('"[X]" where GRAMMAR(X, "start: /a/")') == [f"{greedy}its texts are not known beforehand"]
        assert shown('argmax(greedy=True)\n    "[X]" where X in ["a", "b"]') == [
            "token by token where `greedy` is true, as the header may say"
        ]
        assert shown('sample\n    "[X]" where X in ["a", "b"]') == []

    def test_a_program_without_holes(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("none.lmql").write_text("print(1)\n")
        assert main(["explain", "none.lmql"]) == 0
        assert capfd.readouterr().out.endswith("holes: none\n")
        assert main(["explain", "none.lmql", "--svg", "a.svg"]) == 1
        assert "the program has no hole to draw" in capfd.readouterr().err


@pytest.mark.usefixtures("folder")
class TestDrawings:
    def test_states_and_arrows(self) -> None:
        assert main(["explain", "q.lmql", "--svg", "q.svg"]) == 0
        root = ElementTree.parse("q.svg").getroot()
        titles = [node.text for node in root.iter() if node.get("class") == "title"]
        assert titles == ["D", "T", "L", "ANY"]

    def test_one_state_per_circle(self) -> None:
        program = lmqlc.compile('"[X]" where REGEX(X, "(a<)*")').program
        root = ElementTree.fromstring(emit_svg([("X", language(program, program.holes[0]))]))
        tags = [node.tag.rpartition("}")[2] for node in root.iter()]
        labels = [node.text for node in root.iter() if node.get("class") == "edge"]
        assert tags.count("circle") == 3  # two states, one of which may end
        assert sorted(filter(None, labels)) == ["<", "a"]

    def test_what_cannot_be_drawn(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("large.lmql").write_text('"[X]" where REGEX(X, "(ab){400}")')
        assert main(["explain", "large.lmql", "--svg", "large.svg"]) == 1
        assert "at most 300 are drawn" in capfd.readouterr().err
        assert main(["explain", "one.lmql", "--svg", "no/such/folder/one.svg"]) == 1
        assert "cannot write 'no/such/folder/one.svg'" in capfd.readouterr().err


@pytest.mark.usefixtures("folder")
class TestEmit:
    def test_one_hole_is_written_alone(self, capfd: pytest.CaptureFixture[str]) -> None:
        expected = {"regex": "[a-c][a-c]\n", "ebnf": "root ::= [a-c] [a-c]\n", "gbnf": "root ::= [a-c] [a-c]\n"}
        for stage, text in {**expected, "lark": "start: /[a-c][a-c]/\n"}.items():
            assert main(["compile", "one.lmql", "--emit", stage]) == 0
            assert capfd.readouterr().out == text
        assert main(["compile", "one.lmql", "--emit", "dot", "-o", "one.dot"]) == 0
        assert Path("one.dot").read_text().startswith("digraph {")

    def test_several_holes_stand_under_comments(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["compile", "q.lmql", "--emit", "ebnf"]) == 0
        out = capfd.readouterr().out
        assert re.findall(r"^# (\w+) at q\.lmql:\d:2$", out, re.MULTILINE) == ["D", "W", "J", "T", "L", "ANY"]
        assert "#   the language of `W` is known when it is reached: it depends on `words`" in out
        assert out.count("root ::= ") == 3
        assert main(["compile", "q.lmql", "--emit", "regex", "--hole", "ANY"]) == 0
        assert capfd.readouterr().out.count("\n") == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["q.lmql", "--emit", "regx"], "did you mean 'regex'?"),
            (["q.lmql", "--emit", "regex", "--hole", "X"], "the program has no hole 'X'; its holes are: D, W, J, T, L, ANY"),
            (["q.lmql", "--emit", "regex", "--hole", "W"], "it depends on `words`"),
            (["q.lmql", "--emit", "gbnf", "--hole", "T"], "a count of tokens cannot be written"),
            (["q.lmql", "--emit", "ir", "--hole", "D"], "leave the hole out"),
            (["one.lmql", "--emit", "ir", "-o", "no/such/folder/x"], "cannot write 'no/such/folder/x'"),
        ],
    )
    def test_errors(self, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["compile", *arguments]) == 1
        assert message in capfd.readouterr().err


@pytest.mark.usefixtures("folder")
def test_an_artifact_for_several_tokenizers() -> None:
    one, other = ByteTokenizer(), ByteTokenizer(["ab", "bc"])
    compiled = lmqlc.compile(Path("one.lmql"), tokenizer=[one, other])
    compiled.save("one.lmqlc")
    loaded = lmqlc.load("one.lmqlc")
    assert set(loaded.arrays) == set(lmqlc.compile(Path("one.lmql"), tokenizer=one).arrays) | {
        *lmqlc.compile(Path("one.lmql"), tokenizer=other).arrays
    }
    assert all(np.array_equal(loaded.arrays[name], array) for name, array in compiled.arrays.items())
    assert lmqlc.run_sync(loaded, model=scripted("cb")).variables == {"D": "cb"}
    assert main(["compile", "one.lmql", "--tokenizer", "tokenizer.json", "--tokenizer", ".", "-o", "two.lmqlc"]) == 0
    assert lmqlc.load("two.lmqlc").arrays

"""The language server over its real protocol: a client in this process, the server in another one."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from lmqlc.grammar.source import Source
from lmqlc.lsp import words
from lmqlc.lsp.completion import completions
from lmqlc.lsp.context import context_at
from lmqlc.lsp.document import Document
from lmqlc.lsp.hover import hover
from lmqlc.lsp.navigation import symbols
from lmqlc.lsp.positions import offset_of, position_of
from lmqlc.runtime.decoders import names as decoders

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 30


class Editor:
    """A client that keeps the findings it is sent."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.client = LanguageClient("test", "1")
        self.found: dict[str, list[types.PublishDiagnosticsParams]] = {}
        self.news = asyncio.Event()
        self.count = 0

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.found.setdefault(params.uri, []).append(params)
            self.news.set()

    async def start(self) -> None:
        await self.client.start_io(sys.executable, "-m", "lmqlc", "lsp")
        answer = await self.client.initialize_async(types.InitializeParams(types.ClientCapabilities()))
        self.capabilities = answer.capabilities
        self.client.initialized(types.InitializedParams())

    async def stop(self) -> None:
        await asyncio.wait_for(self.client.shutdown_async(None), PATIENCE)
        self.client.exit(None)
        await self.client.stop()

    def ask(self, what: Any) -> Any:
        """The answer to a request."""
        return self.runner.run(asyncio.wait_for(what, PATIENCE))

    def open(self, text: str, name: str | None = None) -> str:
        self.count += 1
        path = self.folder / (name or f"q{self.count}.lmql")
        uri = path.as_uri()
        item = types.TextDocumentItem(uri, "lmql", 1, text)
        self.now(lambda: self.client.text_document_did_open(types.DidOpenTextDocumentParams(item)))
        return uri

    def now(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        self.runner.run(act())

    def change(self, uri: str, text: str, version: int) -> None:
        whole = types.TextDocumentContentChangeWholeDocument(text)
        params = types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(version, uri), [whole])
        self.now(lambda: self.client.text_document_did_change(params))

    def findings(self, uri: str, version: int) -> list[types.Diagnostic]:
        """What the server finds in a version of a program, once it has said so."""

        async def wait() -> list[types.Diagnostic]:
            while not any(one.version == version for one in self.found.get(uri, [])):
                self.news.clear()
                await self.news.wait()
            return list(self.found[uri][-1].diagnostics)

        return self.ask(wait())  # type: ignore[no-any-return]

    def place(self, text: str, at: int) -> types.Position:
        return position_of(Source("t", text), at, types.PositionEncodingKind.Utf16)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    with asyncio.Runner() as runner:
        made = Editor(runner, tmp_path_factory.mktemp("programs"))
        runner.run(made.start())
        yield made
        runner.run(made.stop())


def at(text: str) -> tuple[str, int]:
    """A text and the offset of its `|`, which is taken out."""
    offset = text.index("|")
    return text[:offset] + text[offset + 1 :], offset


class TestProtocol:
    def test_findings_as_you_type(self, editor: Editor) -> None:
        uri = editor.open('"é😀 [X]" where STOP_AT(X, ".")\n')
        (found,) = editor.findings(uri, 1)
        assert (found.code, found.severity, found.source) == ("L0450", types.DiagnosticSeverity.Error, "lmqlc")
        assert "did you mean `STOPS_AT`?" in found.message
        assert (found.range.start.character, found.range.end.character) == (16, 23)  # in UTF-16
        for version, text in enumerate(['"é', '"[X] where', '"[X]" where len(', "for x in", '"[X]" where len(X) < 3\n'], 2):
            editor.change(uri, text, version)
        assert editor.findings(uri, 6) == []
        assert {one.version for one in editor.found[uri]} <= {1, 6}, "versions that were typed over are not checked"

    def test_fixes(self, editor: Editor) -> None:
        uri = editor.open('"[X]" where STOP_AT(X, ".")\n')
        found = editor.findings(uri, 1)
        params = types.CodeActionParams(types.TextDocumentIdentifier(uri), found[0].range, types.CodeActionContext(found))
        (action,) = editor.ask(editor.client.text_document_code_action_async(params))
        (edit,) = action.edit.changes[uri]
        assert (action.title, edit.new_text, edit.range) == ("Replace by `STOPS_AT`", "STOPS_AT", found[0].range)

    def test_broken_tests_are_found(self, editor: Editor) -> None:
        uri = editor.open('# test: a\n#   asert X\n"[X]"\n')
        (found,) = editor.findings(uri, 1)
        assert (found.code, found.range.start.line) == ("L0901", 1)

    def test_completion_hover_definition_outline(self, editor: Editor) -> None:
        text = 'greeting = 1\n"Hi [NAME]" where len(NAME) < 9 and STOPS_\n"{greeting} {NAME}"\n'
        uri = editor.open(text)
        document = types.TextDocumentIdentifier(uri)
        place = editor.place(text, text.index("STOPS_") + 6)
        listed = editor.ask(editor.client.text_document_completion_async(types.CompletionParams(document, place)))
        labels = [item.label for item in listed.items]
        assert {"NAME", "STOPS_AT", "STOPS_BEFORE", "greeting", "and"} <= set(labels)
        whole = text.replace("STOPS_", 'STOPS_AT(NAME, ".")')
        uri = editor.open(whole)
        document = types.TextDocumentIdentifier(uri)
        place = editor.place(whole, whole.index("STOPS_AT"))
        shown = editor.ask(editor.client.text_document_hover_async(types.HoverParams(document, place)))
        assert "STOPS_AT(X, phrase)" in shown.contents.value
        place = editor.place(whole, whole.rindex("NAME"))
        shown = editor.ask(editor.client.text_document_hover_async(types.HoverParams(document, place)))
        assert "exact masks" in shown.contents.value and "states" in shown.contents.value
        target = editor.ask(editor.client.text_document_definition_async(types.DefinitionParams(document, place)))
        assert (target.uri, target.range.start) == (uri, types.Position(1, 5))
        outline = editor.ask(editor.client.text_document_document_symbol_async(types.DocumentSymbolParams(document)))
        assert [(one.name, one.detail) for one in outline] == [("greeting", "variable"), ("NAME", "hole")]

    def test_formatting(self, editor: Editor) -> None:
        options = types.FormattingOptions(4, True)
        for text, expected in (('"é[X]"   where len(X)<3', '"é[X]" where len(X) < 3\n'), ('"[X]"\n', None), ('"[X"   \n', "broken")):
            document = types.TextDocumentIdentifier(editor.open(text))
            edits = editor.ask(editor.client.text_document_formatting_async(types.DocumentFormattingParams(document, options)))
            if expected == "broken":
                assert edits is None
            else:
                assert [edit.new_text for edit in edits] == ([expected] if expected else [])
        (folder := editor.folder / "narrow").mkdir()
        (folder / "pyproject.toml").write_text("[tool.lmqlc]\nline-length = 40\n")
        uri = editor.open('"A longer prompt [X]" where len(X) < 3 and len(X) > 1\n', "narrow/q.lmql")
        params = types.DocumentFormattingParams(types.TextDocumentIdentifier(uri), options)
        (edit,) = editor.ask(editor.client.text_document_formatting_async(params))
        assert edit.new_text.startswith('"A longer prompt [X]"\n    where')

    def test_definition_in_a_module_beside(self, editor: Editor) -> None:
        (editor.folder / "tools_beside.py").write_text("x = 1\n\n\ndef look_up(term):\n    return term\n")
        text = 'from tools_beside import look_up as look\n"[X]"\n"{look(X)}"\n'
        uri = editor.open(text)
        params = types.DefinitionParams(types.TextDocumentIdentifier(uri), editor.place(text, text.rindex("look")))
        target = editor.ask(editor.client.text_document_definition_async(params))
        assert target.uri.endswith("/tools_beside.py") and target.range.start == types.Position(3, 4)

    def test_closing_takes_findings_away(self, editor: Editor) -> None:
        uri = editor.open('"[X"\n')
        assert editor.findings(uri, 1)
        params = types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri))
        editor.now(lambda: editor.client.text_document_did_close(params))
        assert editor.findings(uri, None) == []  # type: ignore[arg-type]

    def test_capabilities(self, editor: Editor) -> None:
        have = editor.capabilities
        assert have.hover_provider and have.definition_provider and have.document_formatting_provider and have.completion_provider


CONTEXTS = {
    '"[X]" where |': "where",
    '"[X]" where len(|': "where",
    '"[X]" where (len(X) < 3 and\n    |': "where",
    '"[X]"\n    where |': "where",
    '"[X]"\n    where A and\n    |': "where",
    '"[X]" where len(X) < 3\n|': "header",
    'argmax\n    "[X]"\nwhere\n    |': "where",
    'argmax\n    "[X]"\nfrom |': "model",
    'argmax "[X]" from |': "model",
    'for i in x:\n    "[X]" where |': "where",
    "for i in x:\n    |": "line",
    '"[X]" where X.|': "method",
    "lmql.|": "method",
    "sample(|": "arguments",
    "sample(n=2, |": "arguments",
    "|": "header",
    "arg|": "header",
    "x = |": "python",
    '"Hi |': "prompt",
    '"Hi [|': "hole",
    '"Hi [X: |': "type",
    '"Hi [@|': "decorator",
    '"Hi {|': "value",
    '"Hi {x.y(|': "value",
    '"Hi {:|': "role",
    '"Hi [[ {{ |': "prompt",
    '"""Hi\n[X: |': "type",
    "x = 1  # |": "comment",
    "# |": "comment",
    "from x import |": "python",
}


@pytest.mark.parametrize("text", CONTEXTS)
def test_contexts(text: str) -> None:
    assert context_at(*at(text)).where == CONTEXTS[text]


def labels(text: str) -> list[str]:
    source, offset = at(text)
    return [item.label for item in completions(Source("t", source), offset)]


def test_completion_knows_what_is_in_scope() -> None:
    function = "import re\n\n\ndef f(inner):\n    own = 1\n    return own\n\n\n"
    program = function + '"[FIRST]"\nfor n in range(3):\n    "[SECOND]" where len(SECOND) < |\n'
    found = labels(program)
    assert found[:2] == ["SECOND", "FIRST"]
    assert {"n", "f", "re", "TOKENS"} <= set(found) and not {"own", "inner"} & set(found)
    assert {"inner", "own"} <= set(labels("def f(inner):\n    own = 1\n    return |\n"))
    assert labels('"[X]" where X.|')[:2] == ["startswith", "endswith"]
    assert labels("sample(|")[:3] == ["n=", "temperature=", "top_k="]
    assert "length_penalty=" in labels("beam(|") and "length_penalty=" not in labels("sample(|")
    assert {"system", "user", "assistant"} == set(labels('"{:|'))
    assert "int" in labels('"[X: |]"')
    assert labels('"Say hi |') == []
    assert "argmax" in labels("|") and "argmax" not in labels("x = |")
    assert "run_sync" in labels("lmql.|")
    assert '"local:gpt2"' in labels('argmax "[X]" from |')


def about(text: str, **more: Any) -> str | None:
    source, offset = at(text)
    found = hover(Document("file:///t.lmql", "/t.lmql", source, 1), offset)
    return None if found is None else found[0]


def test_hover() -> None:
    assert "`len(TOKENS(X)) < 20`" in str(about('"[X]" where len(TO|KENS(X)) < 3'))
    assert "Tokens drawn" in str(about('sam|ple(n=2)\n    "[X]"\n'))
    assert "how many branches" in str(about('sample(n|=2)\n    "[X]"\n'))
    assert "line 1" in str(about('count = 1\n"{cou|nt} [X]"\n'))
    assert "--arg country=" in str(about('"{coun|try} [X]"\n'))
    assert "imported" in str(about("import re\nx = r|e\n"))
    assert "The text begins with" in str(about('"[X]" where X.starts|with("a")\n'))
    assert about('"[X|]" where len(X) < 2 and X == "abc"\n') == "hole `X`, line 1"
    assert about('"Say h|i [X]"') is None
    assert about("x = 1 + |2") is None
    assert about('"[X]" wh|ere len(X) < 3') == words.CLAUSES["where"]


def test_definitions_and_scopes() -> None:
    program = (
        "@lmql.query\ndef date():\n    '''lmql\n    \"[YEAR]\"\n    return YEAR\n    '''\n\n\n"
        "def f(x):\n    x = 2\n    return x\n\n\nx = 1\n"
        '"On [WHEN: date] {x}"\n'
    )
    document = Document("file:///t.lmql", "/t.lmql", program, 1)
    from lmqlc.lsp.navigation import definition

    def line(name: str, offset: int) -> int:
        found = definition(document, name, offset, "utf-16")
        assert found is not None
        return found.range.start.line

    assert line("date", program.rindex("date]")) == 1
    assert line("YEAR", program.index("return YEAR") + 8) == 3
    assert line("x", program.index("return x") + 7) == 9
    assert line("x", program.rindex("{x}") + 1) == 13
    assert [one.name for one in symbols(document, "utf-16")] == ["date", "YEAR", "f", "x", "WHEN"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_positions_in_every_encoding(encoding: str) -> None:
    source = Source("t", "a é 😀b\r\n\u2028x\rz\n")
    for offset in range(len(source.text) + 1):
        if source.text[offset : offset + 1] != "\n" or source.text[offset - 1] != "\r":
            assert offset_of(source, position_of(source, offset, encoding), encoding) == offset
    assert offset_of(source, types.Position(99, 0), encoding) == len(source.text)
    assert offset_of(source, types.Position(0, 99), encoding) == 6


def test_nothing_fails_on_half_written_programs() -> None:
    rng = random.Random(7)
    programs = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.lmql"))]
    for number in range(120):
        text = rng.choice(programs)
        start = rng.randrange(len(text))
        text = text[: rng.randrange(len(text) + 1)] if number % 2 else text[:start] + text[start + rng.randrange(12) :]
        offset = rng.randrange(len(text) + 1)
        document = Document("file:///t.lmql", "/t.lmql", text, 1)
        completions(document.source, offset)
        symbols(document, "utf-16")
        if number % 6 == 0:
            hover(document, offset)
            document.diagnostics("utf-16")


def test_words_are_those_of_the_language() -> None:
    from lmqlc.compiler.constraint_calls import CONSTRAINT_NAMES
    from lmqlc.compiler.decoder_options import COMMON, DECODERS

    assert words.CONSTRAINTS.keys() == CONSTRAINT_NAMES
    assert words.DECODER_TEXTS.keys() == DECODERS.keys() and set(decoders()) <= DECODERS.keys()
    assert words.ARGUMENTS.keys() <= COMMON.keys() | {name for kinds in DECODERS.values() for name in kinds}


def test_without_pygls_the_command_says_what_to_install() -> None:
    hidden = "sys.modules['pygls'] = None; sys.modules['lsprotocol'] = None"
    code = f"import sys; {hidden}; from lmqlc.__main__ import main; sys.exit(main(['lsp']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'lmqlc[lsp]'" in done.stderr

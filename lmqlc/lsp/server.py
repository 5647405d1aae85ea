"""The server: what it can do, and when. Every request is answered from the text as it stands; findings follow a pause in typing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from lmqlc import __version__
from lmqlc.configuration import find
from lmqlc.grammar.errors import LmqlError
from lmqlc.lsp.completion import completions
from lmqlc.lsp.document import Document
from lmqlc.lsp.hover import hover, word_at
from lmqlc.lsp.navigation import definition, symbols
from lmqlc.lsp.positions import Encoding, offset_of, range_of, whole
from lmqlc.sources import MOST_BYTES

PAUSE = 0.15
"""Seconds without a change before a program is checked."""

_log = logging.getLogger(__name__)


class Server(LanguageServer):
    """A language server for programs. pause: seconds without a change before a program is checked."""

    def __init__(self, pause: float = PAUSE) -> None:
        super().__init__("lmqlc", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self._pause = pause
        self._checks: dict[str, asyncio.Task[None]] = {}

    @property
    def encoding(self) -> Encoding:
        """How client and server count columns."""
        return self.workspace.position_encoding or types.PositionEncodingKind.Utf16

    def document(self, uri: str) -> Document:
        """An open program as it stands."""
        text = self.workspace.get_text_document(uri)
        return Document(uri, to_fs_path(uri) or uri, text.source, text.version)

    def check_soon(self, uri: str, *, at_once: bool = False) -> None:
        """Check a program once nobody has changed it for a while; a check that is under way for an older text is dropped."""
        running = self._checks.pop(uri, None)
        if running is not None:
            running.cancel()
        self._checks[uri] = asyncio.ensure_future(self._check(uri, 0.0 if at_once else self._pause))

    async def _check(self, uri: str, pause: float) -> None:
        await asyncio.sleep(pause)
        document = self.document(uri)
        try:
            if len(document.source.text) > MOST_BYTES:
                return
            found = await asyncio.to_thread(document.diagnostics, self.encoding)
        except Exception:  # noqa: BLE001 - a bug of ours must not end the editor's session
            _log.exception("the check of %s failed", uri)
            return
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, document.version))

    def forget(self, uri: str) -> None:
        """A program is closed: nothing is shown about it any more."""
        running = self._checks.pop(uri, None)
        if running is not None:
            running.cancel()
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def make_server(pause: float = PAUSE) -> Server:
    """A server with all its features; `start_io` runs it."""
    server = Server(pause)
    _documents(server)
    _questions(server)
    _changes(server)
    return server


def _documents(server: Server) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.check_soon(params.text_document.uri, at_once=True)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.check_soon(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.check_soon(params.text_document.uri, at_once=True)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.forget(params.text_document.uri)


def _questions(server: Server) -> None:
    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[".", "@", ":", "{", "(", " "]))
    async def complete(params: types.CompletionParams) -> types.CompletionList:
        document = server.document(params.text_document.uri)
        offset = offset_of(document.source, params.position, server.encoding)
        return types.CompletionList(False, await asyncio.to_thread(completions, document.source, offset))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def explain(params: types.HoverParams) -> types.Hover | None:
        document = server.document(params.text_document.uri)
        offset = offset_of(document.source, params.position, server.encoding)
        found = await asyncio.to_thread(hover, document, offset)
        if found is None:
            return None
        text, span = found
        content = types.MarkupContent(types.MarkupKind.Markdown, text)
        return types.Hover(content, range_of(document.source, span, server.encoding))

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def define(params: types.DefinitionParams) -> types.Location | None:
        document = server.document(params.text_document.uri)
        offset = offset_of(document.source, params.position, server.encoding)
        word = word_at(document.source.text, offset)
        return None if word is None else definition(document, word[0], offset, server.encoding)

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outline(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        return symbols(server.document(params.text_document.uri), server.encoding)


def _changes(server: Server) -> None:
    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def lay_out(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        from pathlib import Path

        from lmqlc.format.program import WIDTH, format_source

        document = server.document(params.text_document.uri)
        try:
            width = find(Path(document.path).parent).number("line-length") or WIDTH
            text = format_source(document.source, width=width)
        except LmqlError:
            return None
        return [] if text == document.source.text else [types.TextEdit(whole(document.source, server.encoding), text)]

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions([types.CodeActionKind.QuickFix]))
    def fixes(params: types.CodeActionParams) -> list[types.CodeAction]:
        uri = params.text_document.uri
        return [_replacing(uri, found) for found in params.context.diagnostics if isinstance(found.data, str)]


def _replacing(uri: str, found: types.Diagnostic) -> types.CodeAction:
    word: Any = found.data
    edit = types.WorkspaceEdit({uri: [types.TextEdit(found.range, word)]})
    return types.CodeAction(f"Replace by `{word}`", kind=types.CodeActionKind.QuickFix, diagnostics=[found], edit=edit, is_preferred=True)

"""`lmqlc lsp`: the language server on standard input and output."""

from __future__ import annotations

import logging

from lmqlc.grammar.errors import BackendUnavailable


def lsp_command(log: str | None) -> None:
    """Serve until the editor ends it. Raises BackendUnavailable where pygls is not installed."""
    try:
        from lmqlc.lsp.server import make_server
    except ImportError as error:
        raise BackendUnavailable(f"the language server needs the package {error.name!r}: pip install 'lmqlc[lsp]'") from None
    if log is not None:
        logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
    make_server().start_io()

"""For MkDocs: what a fence says to the tests (`lmql run`, `text output`, `lmql finds CODE`) is nothing to readers."""

from __future__ import annotations

import re
from typing import Any

_FENCE = re.compile(r"^( *```)(lmql|text)[ ].*$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with the bare language behind each fence."""
    return _FENCE.sub(r"\1\2", markdown)

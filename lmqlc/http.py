"""Fetching from the web inside of programs, without blocking other queries."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from lmqlc.grammar.errors import BackendUnavailable, LmqlError

LARGEST = 10 << 20
"""Bytes of an answer."""


async def fetch(url: str, path: str | None = None, *, timeout: float = 30.0) -> Any:
    """What a URL answers: a JSON value where it reads as JSON, else the text. path: keys and numbers into the JSON, such as
    "query.pages.0.title". timeout: seconds.

    Raises BackendUnavailable where the server cannot be reached or refuses, LmqlError for a URL that is none, and for a path that is not
    there.
    """
    text = await asyncio.to_thread(_read, url, timeout)
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for key in path.split(".") if path else ():
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise LmqlError(f"the answer of {_shown(url)} has no {key!r} (of {path!r})") from None
    return value


def _read(url: str, timeout: float) -> str:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise LmqlError(f"{url!r} is no URL that can be fetched; it begins with http:// or https://")
    request = urllib.request.Request(urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": "lmqlc"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - the scheme was looked at
            data: bytes = answer.read(LARGEST + 1)
            charset = answer.headers.get_content_charset() or "utf-8"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise BackendUnavailable(f"{_shown(url)} cannot be fetched: {getattr(error, 'reason', None) or error}") from None
    if len(data) > LARGEST:
        raise LmqlError(f"the answer of {_shown(url)} is longer than {LARGEST >> 20} MiB")
    return data.decode(charset, "replace")


def _shown(url: str) -> str:
    """A URL without its query, which may hold keys."""
    return url.partition("?")[0]

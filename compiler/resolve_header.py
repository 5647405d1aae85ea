"""The header of a program: is there such a decoder, and does it take these arguments?"""

from __future__ import annotations

import ast
from importlib.metadata import entry_points

from lmqlc.compiler.constraint_calls import Scope
from lmqlc.compiler.decoder_options import COMMON, DECODERS, Kind
from lmqlc.compiler.findings import Findings, did_you_mean
from lmqlc.compiler.static import fold
from lmqlc.grammar.nodes import Header, Query

DEFAULT = "argmax"
GROUP = "lmqlc.decoders"
"""Entry points of decoders that other packages bring."""


def check_header(query: Query, scope: Scope, findings: Findings) -> str:
    """Report what is wrong with a header; the name of the program's decoder."""
    header = query.header
    if header is None:
        return DEFAULT
    options = DECODERS.get(header.decoder)
    if options is not None:
        _check_arguments(header, {**COMMON, **options}, findings)
    elif not entry_points(group=GROUP, name=header.decoder):
        hint = did_you_mean(header.decoder, DECODERS, f"decoders are {', '.join(DECODERS)}")
        findings.error("L0601", f"unknown decoder `{header.decoder}`", header.span, hint)
    return header.decoder


def _check_arguments(header: Header, known: dict[str, Kind], findings: Findings) -> None:
    seen: set[str] = set()
    for keyword in header.keywords:
        if keyword.arg is None:  # `**options`, known when the program runs
            continue
        span = findings.span(keyword)
        if keyword.arg in seen:
            findings.error("L0604", f"the argument `{keyword.arg}` is given twice", span)
        elif keyword.arg not in known:
            findings.error(
                "L0602", f"`{header.decoder}` takes no argument `{keyword.arg}`", span, _argument_hint(keyword.arg, header.decoder, known)
            )
        else:
            _check_value(keyword, known[keyword.arg], findings)
        seen.add(keyword.arg)


def _argument_hint(name: str, decoder: str, known: dict[str, Kind]) -> str:
    others = [other for other, options in DECODERS.items() if other != decoder and name in options]
    if others:
        return f"{' and '.join(f'`{other}`' for other in others)} {'takes' if len(others) == 1 else 'take'} it"
    return did_you_mean(name, known) or f"it takes {', '.join(sorted(known))}"


def _check_value(keyword: ast.keyword, kind: Kind, findings: Findings) -> None:
    constant = fold(keyword.value)
    if constant is not None and not kind.accepts(constant.value):
        message = f"`{keyword.arg}` is {kind.words}, not `{findings.text(keyword.value)}`"
        findings.error("L0603", message, findings.span(keyword.value))

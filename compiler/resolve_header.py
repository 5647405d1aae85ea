"""The arguments of a program's header: does the decoder take them?"""

from __future__ import annotations

import ast

from lmqlc.compiler.decoder_options import COMMON, DECODERS, Kind
from lmqlc.compiler.findings import Findings, did_you_mean
from lmqlc.compiler.static import fold
from lmqlc.grammar.nodes import Header, Query

DEFAULT = "argmax"


def check_header(query: Query, findings: Findings) -> str:
    """Report arguments that the decoder does not take, and constants of the wrong kind; the name of the program's decoder.

    A decoder that another package or the program itself brings checks its arguments when the program runs.
    """
    header = query.header
    if header is None:
        return DEFAULT
    if header.decoder in DECODERS:
        _check_arguments(header, {**COMMON, **DECODERS[header.decoder]}, findings)
    return header.decoder


def _check_arguments(header: Header, known: dict[str, Kind], findings: Findings) -> None:
    for keyword in header.keywords:
        name = str(keyword.arg)
        if name not in known:
            message = f"`{header.decoder}` takes no argument `{name}`"
            findings.error("L0601", message, findings.span(keyword), _argument_hint(name, header.decoder, known))
        else:
            _check_value(name, keyword.value, known[name], findings)


def _argument_hint(name: str, decoder: str, known: dict[str, Kind]) -> str:
    others = [f"`{other}`" for other, options in DECODERS.items() if other != decoder and name in options]
    if others:
        listed = ", ".join(others[:-1]) + " and " + others[-1] if len(others) > 1 else others[0]
        return f"{listed} {'takes' if len(others) == 1 else 'take'} it"
    return did_you_mean(name, known) or f"it takes {', '.join(sorted(known))}"


def _check_value(name: str, value: ast.expr, kind: Kind, findings: Findings) -> None:
    constant = fold(value)
    if constant is not None and not kind.accepts(constant.value):
        findings.error("L0602", f"`{name}` is {kind.words}, not `{findings.text(value)}`", findings.span(value))

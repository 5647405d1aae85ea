"""Formatting keeps what a program means, whatever its white space, and changes nothing the second time."""

from __future__ import annotations

import importlib.util
import os
import random
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmqlc.format.lexemes import lexemes
from lmqlc.format.program import candidates, format_source
from lmqlc.grammar.dump import same
from lmqlc.grammar.errors import LmqlSyntaxError
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.parse import parse
from lmqlc.grammar.source import Source
from lmqlc.grammar.unparse import unparse

LONG = bool(os.environ.get("LMQLC_LONG"))


def _strategies() -> Any:
    spec = importlib.util.spec_from_file_location("grammar_programs", Path(__file__).with_name("grammar_programs.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spoilt(text: str, rng: random.Random) -> str:
    """The text with other white space where it means nothing: between words of a line, inside brackets, at ends of lines."""
    written, depth, fresh = [], 0, True
    for one in lexemes(text):
        depth += (one.kind == "open") - (one.kind == "close")
        if one.kind == "blank" and not fresh:
            gaps = ("  ", "\t", " \\\n  ") if not depth else ("  ", "\n", "\n   ", " ")
            written.append(rng.choice([one.text, one.text, *gaps]))
        elif one.kind == "newline":
            written.append(rng.choice(["\n", "  \n"]))
        else:
            written.append(one.text)
        fresh = one.kind == "newline" or (fresh and one.kind == "blank")
    return "".join(written)


def check(text: str, width: int, *, prompts: bool = True) -> None:
    query = parse(text, prompts=prompts)
    result = format_source(Source("<t>", text), width=width, prompts=prompts)
    assert result == next(iter(candidates(query, width, prompts=prompts))), text
    assert same(parse(result, prompts=prompts), query), text
    assert format_source(Source("<t>", result), width=width, prompts=prompts) == result, text


@pytest.mark.timeout(3600 if LONG else 300)
@settings(max_examples=3000 if LONG else 60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_strategies().queries(), st.randoms(use_true_random=False), st.sampled_from([40, 80, 120]))
def test_printed_programs_keep_their_meaning(query: Query, rng: random.Random, width: int) -> None:
    text = unparse(query)
    check(text, width)
    other = spoilt(text, rng)
    try:
        parse(other)
    except LmqlSyntaxError:
        return
    check(other, width)


@pytest.mark.timeout(3600 if LONG else 300)
def test_the_standard_library_keeps_its_meaning() -> None:
    """A sample of the modules, all of them with `LMQLC_LONG=1`; as Python, and as programs where they are some."""
    modules = sorted(path for path in Path(sysconfig.get_paths()["stdlib"]).rglob("*.py") if "site-packages" not in path.parts)
    checked = 0
    for path in modules[:: 1 if LONG else 60]:
        for prompts in (False, True):
            try:
                text = path.read_bytes().decode("utf-8")
                parse(text, prompts=prompts)
            except (UnicodeDecodeError, LmqlSyntaxError):
                continue
            check(text, 120, prompts=prompts)
            checked += 1
    assert checked > 20

"""Printing a program and parsing it again gives the same tree."""

from __future__ import annotations

import ast
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from lmqlc.grammar.dump import dump, same
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.parse import parse
from lmqlc.grammar.unparse import to_python, unparse


def _strategies() -> Any:
    spec = importlib.util.spec_from_file_location("grammar_programs", Path(__file__).with_name("grammar_programs.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = 3000 if os.environ.get("LMQLC_LONG") else 60


@pytest.mark.timeout(3600 if os.environ.get("LMQLC_LONG") else 300)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(_strategies().queries())
def test_printed_programs_are_the_same(query: Query) -> None:
    text = unparse(query)
    parsed = parse(text)
    assert same(parsed, query), text
    assert unparse(parsed) == text
    ast.unparse(to_python(query))
    assert dump(parsed).startswith("query\n")

"""The VS Code extension: its files agree with each other and with the language. Its own tests run with npm (docs/editors.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lmqlc import __version__
from lmqlc.compiler.constraint_calls import CONSTRAINT_NAMES
from lmqlc.grammar.keywords import CLAUSES, DECODERS

FOLDER = Path(__file__).resolve().parents[3] / "editors" / "vscode"


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def test_files_named_by_the_package_exist() -> None:
    package = read("package.json")
    contributes = package["contributes"]
    named = [package["main"], contributes["languages"][0]["configuration"], contributes["grammars"][0]["path"]]
    assert all((FOLDER / name).is_file() for name in named)
    assert package["version"] == __version__
    registered = set(re.findall(r'registerCommand\("([\w.]+)"', (FOLDER / "extension.js").read_text(encoding="utf-8")))
    assert registered == {command["command"] for command in contributes["commands"]}


def test_grammar_knows_the_words_of_the_language() -> None:
    grammar = read("syntaxes/lmql.tmLanguage.json")
    rules = grammar["repository"]
    assert set(re.findall(r"[A-Z_]{3,}", rules["constraint"]["match"])) == CONSTRAINT_NAMES
    header = re.match(r"\^\(([\w|]+)\)", rules["header"]["begin"])
    assert header is not None and set(header[1].split("|")) == set(DECODERS)
    assert all(word in rules["program-clause"]["match"] for word in CLAUSES)
    assert grammar["scopeName"] == read("package.json")["contributes"]["grammars"][0]["scopeName"]


def test_every_include_has_its_rule() -> None:
    text = (FOLDER / "syntaxes" / "lmql.tmLanguage.json").read_text(encoding="utf-8")
    included = set(re.findall(r'"include": "#([\w-]+)"', text))
    assert included == set(read("syntaxes/lmql.tmLanguage.json")["repository"])


def test_indentation_rules_know_every_decoder() -> None:
    rules = [rule["beforeText"] for rule in read("language-configuration.json")["onEnterRules"]]
    assert all(any(re.match(rule, decoder) for rule in rules) for decoder in DECODERS)
    assert any(re.match(rule, "sample(n=2)") for rule in rules) and any(re.match(rule, "for x in y:") for rule in rules)
    assert not any(re.match(rule, "x = 1") for rule in rules)

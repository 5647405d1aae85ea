"""Builds the LALR tables from the `.lark` files: `python -m lmqlc.grammar.build_tables` after a grammar has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

STARTS = {"lmql": "program", "qstring": "string"}


def tables(name: str) -> dict[str, Any]:
    """The tables of a grammar as JSON data, for `lalr.from_json`."""
    from lark import Lark
    from lark.grammar import Rule
    from lark.lexer import Lexer, TerminalDef

    class NoLexer(Lexer):
        """Tokens come from this package's own lexers."""

        def __init__(self, lexer_conf: Any) -> None:
            pass

        def lex(self, *_: Any) -> Iterator[Any]:
            return iter(())

    text = resources.files("lmqlc.grammar").joinpath(f"{name}.lark").read_text("utf-8")
    parser = Lark(text, parser="lalr", lexer=NoLexer, start=STARTS[name])
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    return _plain(data["parser"]["parser"], memo, STARTS[name])


def _plain(table: dict[str, Any], memo: dict[int, Any], start: str) -> dict[str, Any]:
    """Lark's form with states and rules in a fixed order: a shift is the state's number, a reduction `-1 - rule`."""
    found = {key: value for key, value in memo.items() if value["__type__"] == "Rule"}
    keys = sorted(found, key=lambda key: _rule_order(found[key]))
    rules = {key: number for number, key in enumerate(keys)}
    rows = {state: _row(table, actions) for state, actions in table["states"].items()}
    numbers = _numbers(rows, table["start_states"][start])
    states = [
        {token: -1 - rules[arg["@"]] if reduce else numbers[arg] for token, (reduce, arg) in rows[state].items()} for state in numbers
    ]
    listed = [_rule(found[key]) for key in keys]
    return {"start": 0, "end": numbers[table["end_states"][start]], "rules": listed, "states": states}


def _row(table: dict[str, Any], actions: dict[int, Any]) -> dict[str, Any]:
    return dict(sorted((table["tokens"][token], action) for token, action in actions.items()))


def _numbers(rows: dict[int, dict[str, Any]], start: int) -> dict[int, int]:
    """States in the order in which a walk from the start meets them: Lark's own order changes with the hash seed."""
    numbers, queue = {start: 0}, [start]
    for state in queue:
        for reduce, arg in rows[state].values():
            if not reduce and arg not in numbers:
                numbers[arg] = len(numbers)
                queue.append(arg)
    return numbers


def _rule_order(rule: dict[str, Any]) -> tuple[str, list[str]]:
    return rule["origin"]["name"], [symbol["name"] for symbol in rule["expansion"]]


def _rule(rule: dict[str, Any]) -> list[Any]:
    origin, alias = rule["origin"]["name"], rule["alias"]
    return [origin, alias or (None if origin.startswith("_") else origin), len(rule["expansion"])]


def render(name: str) -> str:
    """The text of a grammar's table file: one state a line."""
    data = tables(name)
    rows = {key: ",\n".join(json.dumps(row) for row in data[key]) for key in ("rules", "states")}
    body = [f'"{key}": [\n{rows[key]}\n]' for key in ("rules", "states")]
    return "{\n" + ",\n".join([f'"start": {data["start"]}', f'"end": {data["end"]}', *body]) + "\n}\n"


def main() -> None:
    """Write the table files beside the grammars."""
    for name in STARTS:
        Path(__file__).with_name(f"{name}.tables.json").write_text(render(name), "utf-8")


if __name__ == "__main__":
    main()

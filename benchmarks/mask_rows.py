"""The constraints of `benchmarks.masks`: ours, the same language for the peers, and texts to walk along."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lmqlc.compiler import constraints as c


@dataclass(frozen=True)
class Row:
    """One constraint.

    pattern: a regular expression of the same language in the syntax that both peers read; "" where there is none. lark: for llguidance
    instead, where it needs conjunction or negation. texts: beginnings of valid texts.
    """

    name: str
    constraint: c.Constraint
    pattern: str
    texts: tuple[str, ...]
    lark: str = ""


def _regex(name: str, pattern: str, *texts: str, peers: str | None = None) -> Row:
    return Row(name, c.Matches(c.Const(pattern)), pattern if peers is None else peers, texts)


def _chars(op: c.Op, bound: int) -> c.Constraint:
    return c.Count("chars", op, c.Const(bound))


def _contains(text: str) -> c.Constraint:
    return c.Contains(c.Const(text))


def _words(count: int) -> list[str]:
    rng = random.Random(7)
    syllables = ["an", "be", "cor", "dal", "en", "fi", "gra", "hol", "in", "ju", "ka", "lem", "mo", "nor", "ost", "pra", "qui", "re"]
    return sorted({"".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(2 * count)})[:count]


def _escape(text: str) -> str:
    return "".join("\\" + character if character in ".+*?()[]{}|^$\\" else character for character in text)


def _choices(name: str, options: list[str]) -> Row:
    return Row(name, c.InSet(c.Const(options)), "|".join(map(_escape, options)), tuple(options[:: max(1, len(options) // 5)]))


_PROSE = "The quick brown fox jumps over the lazy dog; the wizards of Oz were not amused by the foo of it"
_STRING = r'"([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_INT = r"-?(0|[1-9][0-9]*)"
_ANY = r"(.|\n)*"
_PERSON = (
    r'\{"name": ' + _STRING + r', "age": ' + _INT + r', "tags": \[(' + _STRING + "(, " + _STRING + r")*)?\], \"active\": (true|false)\}"
)

ROWS = (
    Row("INT", c.Number("int"), _INT, ("1234567", "-90210", "0")),
    Row("FLOAT", c.Number("float"), _INT + r"(\.[0-9]+)?([eE][+-]?[0-9]+)?", ("3.14159", "-2.5e-10", "100")),
    Row(
        "0 <= int(X) <= 120",
        c.And((c.NumberCompare("int", ">=", c.Const(0)), c.NumberCompare("int", "<=", c.Const(120)))),
        r"-0|0|[1-9][0-9]?|1[01][0-9]|120",
        ("42", "119", "7"),
    ),
    _regex("date", r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", "2026-07-31", "1999-12-01"),
    _regex("time", r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?", "23:59:01", "07:30"),
    _regex("email", r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,10}", "jane.doe+news@mail.example.com", "x_1@test.org"),
    _regex(
        "URL",
        r"https?://[a-z0-9.-]+(:[0-9]+)?(/[^\s?#]*)?(\?[^\s#]*)?",
        "https://www.example.com:8080/a/b-c?q=one&r=two",
        "http://x.io/",
        peers=r"https?://[a-z0-9.-]+(:[0-9]+)?(/[^\s\x1c-\x1f?#]*)?(\?[^\s\x1c-\x1f#]*)?",
    ),
    _regex("IPv4", r"((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])", "192.168.0.1", "10.255.3.77"),
    _regex("UUID", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "123e4567-e89b-12d3-a456-426614174000"),
    _choices("2 choices", ["yes", "no"]),
    _choices("20 choices", _words(20)),
    _choices("200 choices", _words(200)),
    _regex("JSON string", _STRING, '"a plain string, with \\"quotes\\" and \\u00e9 too"', '""'),
    _regex("JSON person", _PERSON, '{"name": "Ada Lovelace", "age": 36, "tags": ["math", "engine"], "active": true}'),
    _regex("CSV, 50 text fields", r"([^,\n]{1,20},){49}[^,\n]{1,20}", "alpha,beta two,gamma-3,4,five,six,seven,eight,nine,ten,eleven"),
    _regex("CSV, 50 ints", r"([0-9]{1,5},){49}[0-9]{1,5}", "1,22,333,4444,55555,6,77,888,9999,10,11,12"),
    _regex(r"[^\n]{1,200}", r"[^\n]{1,200}", _PROSE),
    _regex(".{0,1000}", r".{0,1000}", _PROSE, peers=r"[^\n]{0,1000}"),
    _regex("words", r"\w+( \w+)*", "plain words with naïve größe and 漢字 in them", peers=r"[\p{L}\p{N}_]+( [\p{L}\p{N}_]+)*"),
    _regex("capital words", r"[A-Z][a-z]+( [A-Z][a-z]+){1,4}", "New York City Hall", "Ada Lovelace"),
    Row("len(X) == 50", _chars("==", 50), r"(.|\n){50}", (_PROSE[:50],)),
    Row("len(X) < 100", _chars("<", 100), r"(.|\n){0,99}", (_PROSE[:90],)),
    Row("'foo' in X", _contains("foo"), _ANY + "foo" + _ANY, (_PROSE,)),
    Row(
        "line, foo, not bar",
        c.And((c.Matches(c.Const(r"[^\n]{1,100}")), _contains("foo"), c.Not(_contains("bar")))),
        "",
        (_PROSE,),
        r"start: T" "\n" r"T: /[^\n]{1,100}/ & /(?s:.*)foo(?s:.*)/ & ~/(?s:.*)bar(?s:.*)/",
    ),
    Row(
        "starts, not ends",
        c.And((c.StartsWith(c.Const("The")), c.Not(c.EndsWith(c.Const("."))), c.Not(c.Matches(c.Const(r".*[0-9].*"))))),
        "",
        (_PROSE,),
        r"start: T" "\n" r"T: /The(?s:.*)/ & ~/(?s:.*)\./ & ~/[^\n]*[0-9][^\n]*/",
    ),
    Row("5 words", c.Count("words", "==", c.Const(5)), "", ("exactly five words are here",)),
    Row("STOPS_BEFORE newline", c.And((c.Stop(c.Const("\n"), False), c.Count("chars", ">", c.Const(3)))), "", (_PROSE,)),
    Row("TOKENS < 20, STOPS_AT .", c.And((c.Stop(c.Const("."), True), c.Count("tokens", "<", c.Const(20)))), "", (_PROSE[:60],)),
)

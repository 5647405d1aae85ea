"""Grammars and schemas that make an engine hang, crash or take memory without bound: an error in time, and nothing else is hurt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks import external
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.workers.pool import Answer, WorkerFailed
from lmqlc.grammar.errors import ConstraintViolated, LmqlCompileError, UnsatisfiableConstraint

VOCABULARY = Vocabulary.build([*(bytes([i]) for i in range(256)), b"ab", b"aaaa", b"<end>"], [258])
END = 258


def grammar(source: str, **arguments: Any) -> Any:
    return compose(c.Grammar(c.Const(source)), VOCABULARY, **arguments)


def schema(value: Any, **arguments: Any) -> Any:
    return compose(c.Json(c.Const(value)), VOCABULARY, **arguments)


def after(made: Any, text: str) -> Any:
    state = made.start()
    for byte in text.encode():
        state = made.advance(state, byte)
        if state is None:
            return None
    return state


def allowed(made: Any, text: str) -> set[int]:
    return set(unpack(made.mask(after(made, text)), len(VOCABULARY)).nonzero()[0].tolist())


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    external.forget()
    yield
    external.forget()


def chained(form: str, count: int) -> str:
    """Rules that each refer to the next one, and a last one that is a text. form: of a rule, in `@` and the next one, `&`."""
    rules = [form.replace("@", f"r{i}").replace("&", f"r{i + 1}") for i in range(count)]
    return "\n".join(["start: r0", *rules, f'r{count}: "a"'])


@pytest.mark.parametrize("form", ["@: &", "@: (&)", "@: [&]", "@: & | &", '@: "b" | &', "@: (((&)?))"])
def test_rules_chained_thousands_deep(form: str) -> None:
    """The language, or an error: no stack overflows. The deepest chain that a grammar has room for is among them."""
    for count in (4000, (external.MAX_SOURCE - 20) // (len(form) + 9)):
        try:
            made = grammar(chained(form, count))
            assert made.is_final(after(made, "a"))
            assert after(made, "aa") is None and after(made, "c") is None
        except (LmqlCompileError, ConstraintViolated) as problem:
            assert "crashed" not in str(problem)
            assert form not in ("@: &", "@: (&)") or count > 4000


def test_terminals_chained_thousands_deep() -> None:
    made = grammar(chained("@: &", 4000).replace("r", "R").replace("staRt: ", "start: "))
    assert made.is_final(after(made, "a")) and after(made, "b") is None


@pytest.mark.parametrize("part", [{"allOf": []}, {"anyOf": []}, {"$ref": ""}, {"items": {}}])
def test_schemas_chained_thousands_deep(part: dict[str, Any]) -> None:
    """Definitions that each refer to the next one; the last one is an integer, in so many arrays where they are items."""
    count, key = 2000, next(iter(part))
    to = [{"$ref": f"#/$defs/d{i + 1}"} for i in range(count)]
    links: dict[str, Any] = {
        "allOf": lambda ref: {"allOf": [ref]},
        "anyOf": lambda ref: {"anyOf": [ref, {"const": "x"}]},
        "$ref": lambda ref: ref,
        "items": lambda ref: {"type": "array", "items": ref},
    }
    definitions = {f"d{i}": links[key](ref) for i, ref in enumerate(to)} | {f"d{count}": {"type": "integer"}}
    try:
        made = schema({"$defs": definitions, "$ref": "#/$defs/d0"})
        assert made.is_final(after(made, "[]" if key == "items" else "12"))
    except (LmqlCompileError, ConstraintViolated) as problem:
        assert key == "anyOf" and "max is 4000" in str(problem)


@pytest.mark.parametrize("levels", [70, 150])
def test_schemas_nested_too_deeply_are_told_so(levels: int) -> None:
    value: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        value = {"allOf": [value]}
    with pytest.raises(LmqlCompileError, match=r"nested too deeply|levels deep"):
        schema(value)


@pytest.mark.parametrize("rules", ["A: /a+/\nB: /a+b/", 'A: "a"+\nB: "a"', "A: /a+/\nB: /aa/"])
def test_terminals_that_leave_nothing_to_the_next_one(rules: str) -> None:
    """The lexer is greedy: no text is in the language. What is forced without end is found before it is written."""
    begun = time.monotonic()
    with pytest.raises(UnsatisfiableConstraint, match="no text is in the language"):
        grammar(f"start: A B\n{rules}")
    assert time.monotonic() - begun < 5


def test_text_that_is_forced_without_end_later() -> None:
    made = grammar('start: ("x" | "y" "z"?) A B\nA: /a+/\nB: /a+b/', encode=lambda text: list(text.encode()))
    with pytest.raises(ConstraintViolated, match=r"GRAMMAR: no text is in the language.* \(after 1 bytes of text\)"):
        made.forced(after(made, "x"))


def test_long_forced_texts_are_read_whole() -> None:
    made = schema({"const": "ab" * 10_000}, encode=lambda text: list(text.encode()))
    assert bytes(made.forced(made.start())) == b'"' + b"ab" * 10_000 + b'"'


@pytest.mark.parametrize("step", [1_000_003, 999_999_937])
def test_what_takes_too_long_is_given_up_once(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "READING", 1.0)
    begun = time.monotonic()
    with pytest.raises(LmqlCompileError, match=r"JSON: .*(took more than 1 seconds|needed more than|more steps)") as caught:
        schema({"type": "integer", "multipleOf": step})
    first = time.monotonic() - begun
    assert caught.value.diagnostics[0].code == external.BAD_GRAMMAR
    assert first < 30
    begun = time.monotonic()
    with pytest.raises(LmqlCompileError):
        schema({"type": "integer", "multipleOf": step})
    assert time.monotonic() - begun < 1
    assert allowed(schema({"type": "integer", "multipleOf": 5}), "1") >= {ord("0"), ord("5")}


@pytest.mark.parametrize(
    "value",
    [
        {"type": "string", "allOf": [{"pattern": chr(97 + i % 26)} for i in range(29)]},
        {"allOf": [{"type": "string", "pattern": f"^.*{chr(97 + i % 26)}.*$"} for i in range(29)]},
    ],
)
def test_patterns_that_must_all_hold(value: Any) -> None:
    with pytest.raises(LmqlCompileError, match="too many patterns and lengths hold together"):
        schema(value)


@pytest.mark.parametrize(
    "source",
    [
        'start: s\ns: s s | "a"',
        'start: s\ns: s s s | s s | "a" | ""',
        "start: /((((a{1,100}){1,100}){1,100}){1,100})/",
        "start: /[a-z]{1,100000}/",
        "start: " + " | ".join(f'"{i}"' for i in range(8000)),
        "start: /(a?){500}a{500}/",
        "start: a0\n" + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(60)) + '\na60: "a" | ""',
        "start: A0\n" + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)) + '\nA60: "a" | "b"',
        "start: /(.*a.*){40}/",
        'start: a*\na: b*\nb: c*\nc: "x"? "a"?',
        "start: " + "(" * 5000 + '"a"' + ")" * 5000,
        "start: /" + "(" * 5000 + "a" + ")" * 5000 + "/",
    ],
)
def test_hostile_grammars_are_bounded_in_time(source: str) -> None:
    begun = time.monotonic()
    try:
        made = grammar(source)
        state = made.start()
        for _ in range(60):
            made.mask(state)
            after_one = made.advance(state, ord("a"))
            if after_one is None:
                break
            state = after_one
    except LmqlCompileError as problem:
        assert problem.diagnostics[0].code in (external.BAD_GRAMMAR, "L0402")
    except ConstraintViolated as problem:
        assert "GRAMMAR: " in str(problem)
    assert time.monotonic() - begun < 40


def test_many_properties_are_bounded_in_time() -> None:
    made = schema({"type": "object", "properties": {f"k{i}": {"type": "integer"} for i in range(900)}})
    assert allowed(made, '{"k899": 1') >= {ord("}"), ord("0")}
    for count, message in ((3000, "max is 4000"), (9000, "too many")):
        with pytest.raises(LmqlCompileError, match=message):
            schema({"type": "object", "properties": {f"k{i}": {"type": "integer"} for i in range(count)}})


def test_a_failure_in_the_middle_of_a_text() -> None:
    """Ambiguity past what is followed violates the constraint; other texts of the same grammar go on."""
    engine = external.GrammarEngine('start: s | "b"+\ns: s s | "a"', VOCABULARY, construct="GRAMMAR", max_items=100)
    engine.begin()
    with pytest.raises(ConstraintViolated, match=r"GRAMMAR: .*items; max is 100.* \(after [0-9]+ bytes of text\)"):
        for length in range(200):
            engine.mask(b"a" * length)
    assert engine.holds(b"bbb") and not engine.alive(b"bba") and engine.mask(b"b" * 30).any()


def test_a_text_that_is_given_up_hurts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such text costs seconds: after a few, the whole grammar is given up."""
    made = grammar('start: "a"+ | "b"+')
    ask = external.workers().ask

    def hangs_at_as(request: Any, **more: Any) -> Answer:
        if b"aaa" in request[2]:
            raise WorkerFailed("time", "took more than 2 seconds of computing time")
        return ask(request, **more)

    monkeypatch.setattr(external.workers(), "ask", hangs_at_as)
    for number in range(3, 3 + external.FAILURES):
        assert allowed(made, "b" * number) == {ord("b"), END}
        with pytest.raises(ConstraintViolated, match=r"GRAMMAR: the engine took more than 2 seconds .*\(after 3 bytes of text\)"):
            made.advance(after(made, "aa"), ord("a"))
    with pytest.raises(ConstraintViolated, match="took more than 2 seconds"):
        made.advance(after(made, "bb"), ord("b"))
        made.mask(after(made, "b" * 20))


def test_looking_ahead_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that the engine fails to judge while looking ahead stays allowed: it may still be right."""
    made = grammar('start: "ab" | "b" "c"')
    ask = external.workers().ask

    def fails_at_a(request: Any, **more: Any) -> Answer:
        if request[2] == b"a":
            raise WorkerFailed("crash", "crashed (SIGSEGV)")
        return ask(request, **more)

    external.forget()
    monkeypatch.setattr(external.workers(), "ask", fails_at_a)
    assert allowed(made, "") >= {ord("a"), ord("b")}
    with pytest.raises(ConstraintViolated, match="crashed"):
        made.advance(made.start(), ord("a"))

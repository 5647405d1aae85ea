"""Grammars and schemas through the engine: masks, layout, messages, and hostile input."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks import external, guidance
from lmqlc.compiler.masks.compose import compose, text_holds
from lmqlc.compiler.masks.external import GrammarEngine, json_engine, lark_engine
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.guidance import Tokens
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint, UnsupportedConstraint

PIECES = [b"ab", b'{"', b"true", b'": ', b"}\n", b"ab", b"", b"\xffx", b" a", b", "]
VOCABULARY = Vocabulary.build([*(bytes([i]) for i in range(256)), *PIECES, b"<end>", b"<stop>"], [266, 267])


def allowed(made: Any, state: Any) -> set[bytes | int]:
    ids = unpack(made.mask(state), len(VOCABULARY)).nonzero()[0].tolist()
    return {VOCABULARY.tokens[i] or i for i in ids}


def after(made: Any, text: str) -> Any:
    state = made.start()
    for byte in text.encode():
        state = made.advance(state, byte)
        if state is None:
            return None
    return state


def grammar(source: str, **arguments: Any) -> Any:
    return compose(c.Grammar(c.Const(source)), VOCABULARY, **arguments)


def schema(value: Any, **arguments: Any) -> Any:
    return compose(c.Json(c.Const(value)), VOCABULARY, **arguments)


def test_every_token_that_agrees_is_allowed_where_bytes_are_forced() -> None:
    made = grammar('start: "ab" "ab" "c"')
    assert allowed(made, made.start()) == {b"a", b"ab"}
    assert {i for i in (256, 261) if made.advance(made.start(), i)} == {256, 261}  # both tokens that write "ab"


def test_every_end_of_text_where_the_grammar_may_end() -> None:
    made = grammar('start: "a"+')
    assert allowed(made, after(made, "a")) == {b"a", 266, 267}
    assert not made.exact


def test_masks_are_those_of_single_steps() -> None:
    made = schema({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "boolean"}}}, "required": ["a"]})
    state = made.start()
    for byte in b'{"a": [true, false]}':
        flags = unpack(made.mask(state), len(VOCABULARY))
        assert [bool(flag) for flag in flags] == [made.advance(state, i) is not None for i in range(len(VOCABULARY))]
        state = made.advance(state, byte)
    assert made.is_final(state) and made.is_closed(state)


def test_layout_of_json() -> None:
    made = schema({"type": "object", "properties": {"b": {"type": "integer"}, "a": {}}, "required": ["b", "a"]})
    for text, good in [
        ('{"b": 1, "a": [1, {"x": null}]}', True),
        ('{"a": 1, "b": 1}', False),
        ('{"b":1, "a": 1}', False),
        ('{"b": 1,"a": 1}', False),
        ('{ "b": 1, "a": 1}', False),
        ('{"b": 1, "a": 1, "c": 1}', False),
        ('{"b": 1}', False),
        ('{"b": 1, "a": "\\u00e9\\n"}', True),
    ]:
        state = after(made, text)
        assert (state is not None and made.is_final(state)) is good, text


def test_any_json() -> None:
    made = compose(c.Json(None), VOCABULARY)
    for text in ("[]", "{}", '{"a": [1, 2.5e-3, "x", true, null]}', '"é"', "-0.5"):
        state = after(made, text)
        assert state is not None and made.is_final(state), text
    for text in ("[1,2]", "01", "'a'", "{a: 1}", "nul1", "[1, ]"):
        assert after(made, text) is None, text


def test_parts_of_a_composed_schema_stay_open() -> None:
    parts = [{"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]} for name in "ab"]
    made = schema({"allOf": parts})
    state = after(made, '{"a": 1, "b": 2}')
    assert state is not None and made.is_final(state)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "no start rule"),
        ("start: x", 'unknown name: "x"'),
        ("start: /(/", "unclosed group"),
        ("start: /a(?=b)/", "look-around"),
        ("start: A\nA: A", "circular"),
        ("start: <[3-5]>", "cannot speak of tokens"),
        ("start: a[max_tokens=3]\na: /x*/", "cannot speak of tokens"),
        ("start: <|end|>", "special token"),
        ('start: "a"\n%import nowhere.x', "nowhere.x"),
        ("\0", "lexer error"),
        ("start: " + "(" * 5000 + '"a"' + ")" * 5000, "too deeply nested"),
        ("x" * (external.MAX_SOURCE + 1), "too many"),
        (5, "takes the source of a Lark grammar"),
    ],
)
def test_bad_grammars_end_in_the_engines_words(source: Any, message: str) -> None:
    with pytest.raises(LmqlCompileError) as caught:
        grammar(source)
    assert message in str(caught.value) and "GRAMMAR" in str(caught.value)
    assert "<state>" not in str(caught.value) and "no_forcing" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "foo"}, "Invalid type: foo"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "#/nowhere"}, "/nowhere"),
        ({"not": {"type": "string"}}, "not"),
        ({"a": {1}}, "is no JSON"),
        ({"minimum": float("nan")}, "is no JSON"),
        (5, "must be an object or boolean"),
        ({"type": "string", "pattern": "(?=a)"}, "look-around"),
    ],
)
def test_bad_schemas_end_in_the_engines_words(value: Any, message: str) -> None:
    with pytest.raises(LmqlCompileError) as caught:
        schema(value)
    assert message in str(caught.value) and "JSON" in str(caught.value)


def test_deep_and_circular_schemas() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    circular: dict[str, Any] = {"type": "array"}
    circular["items"] = circular
    for value in (deep, circular):
        with pytest.raises(LmqlCompileError, match="levels deep"):
            schema(value)


@pytest.mark.parametrize(
    "made",
    [
        lambda: grammar('start: "a" start'),
        lambda: schema(False),
        lambda: schema({"$ref": "#"}),
        lambda: schema({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        lambda: compose(c.And((c.Grammar(c.Const('start: "a" | "b"')), c.StartsWith(c.Const("c")))), VOCABULARY),
    ],
)
def test_empty_languages_are_found(made: Any) -> None:
    with pytest.raises(UnsatisfiableConstraint):
        made()


def test_ambiguity_without_end_is_a_diagnostic() -> None:
    engine = GrammarEngine('start: s\ns: s s | "a"', VOCABULARY, construct="GRAMMAR", max_items=100)
    with pytest.raises(LmqlCompileError, match=r"GRAMMAR: .*items; max is 100") as caught:
        for length in range(200):
            engine.mask(b"a" * length)
    assert "<state>" not in str(caught.value)


def test_forgotten_texts_are_read_again() -> None:
    engine = json_engine(True, VOCABULARY)
    text = b'{"a": [' + b"1, " * 60 + b"1]}"
    whole = [engine.mask(text[:end]).tobytes() for end in range(len(text) + 1)]
    external.workers().close()
    external.forget()
    again = [engine.mask(text[:end]).tobytes() for end in reversed(range(len(text) + 1))]
    assert whole == again[::-1]
    assert engine.holds(text) and not engine.alive(text + b"x") and not engine.alive(b"\xff")


def test_forced_text_is_written_by_the_tokenizer() -> None:
    made = schema({"type": "object", "properties": {"é": {"type": "boolean"}}, "required": ["é"]}, encode=lambda text: list(text.encode()))
    forced = made.forced(made.start())
    assert bytes(forced) == '{"é": '.encode()
    assert made.forced(after(made, '{"é": ')) == []
    assert bytes(made.forced(after(made, '{"é": t'))) == b"rue}"
    tight = schema({"const": "abcd"}, encode=lambda text: list(text.encode()), max_tokens=6)
    assert bytes(tight.forced(tight.start())) == b'"abcd"'
    tighter = schema({"const": "abcd"}, encode=lambda text: list(text.encode()), max_tokens=5)
    assert tighter.forced(tighter.start()) == []  # only other tokens fit
    open_end = schema({"type": "array", "items": {"const": "abcd"}, "minItems": 1}, encode=lambda text: list(text.encode()), max_tokens=7)
    assert open_end.forced(open_end.start()) == []  # the budget is near: how it is written may matter


def test_a_missing_engine_is_a_diagnostic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UnsupportedConstraint, match=r"GRAMMAR needs .* llguidance") as caught:
        lark_engine('start: "a"', VOCABULARY)
    assert "lmqlc[schema]" in str(caught.value)


def test_the_engine_is_loaded_when_needed() -> None:
    code = "import sys, lmqlc.compiler.masks.compose; assert 'llguidance' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_engines_worker_is_light() -> None:
    code = (
        "import sys, lmqlc.compiler.workers.process; from lmqlc.compiler.masks.guidance import Guidance; Guidance();"
        "assert not {'torch', 'numpy', 'transformers', 'lmqlc.runtime'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_texts_are_read_in_any_order() -> None:
    """Places in texts are kept, rolled back and copied: the answers are those of a grammar that was asked nothing before."""
    sources = [
        'start: %json {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "b": {"enum": ["x", "é"]}}}',
        'start: a\na: "(" a ")" a | "x" | ""',
        "start: /[ab]*c/ /d+/",
        'start: w (" " w)*\nw: /[a-z]+/ | INT\nINT: /[0-9]+/\n%ignore /_/',
        'start: s\ns: s s | "a" | "b"',
    ]
    tokens, width = list(VOCABULARY.tokens), len(VOCABULARY)
    from llguidance import LLTokenizer

    tokenizer, dice = LLTokenizer(Tokens(tokens)), random.Random(5)
    for source in sources:
        grammar = guidance.Grammar(source, tokenizer, width, 1000)
        texts = [b""]
        for _ in range(120):
            text = dice.choice(texts[-40:])
            bits = int.from_bytes(guidance.Grammar(source, tokenizer, width, 1000).mask(text)[0], "little")
            follow = [token for i, token in enumerate(tokens) if bits >> i & 1 and token]
            text += dice.choice(follow) if follow and dice.random() < 0.8 else bytes([dice.choice(b'ab(){}": 1x_c\xc3')])
            text = text[: dice.randint(0, len(text))] if dice.random() < 0.2 else text
            fresh = guidance.Grammar(source, tokenizer, width, 1000)
            asked = dice.choice(["judge", "mask", "forced"])
            more = (50,) if asked == "forced" else ()
            assert getattr(grammar, asked)(text, *more) == getattr(fresh, asked)(text, *more), (source, text)
            if grammar.judge(text)[0]:
                texts.append(text)


def test_places_in_texts_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from llguidance import LLTokenizer

    tokenizer = LLTokenizer(Tokens(list(VOCABULARY.tokens)))
    monkeypatch.setattr(guidance, "CURSOR_BYTES", 200 * guidance._BYTES_PER_BYTE * 30)
    grammar = guidance.Grammar('start: "[" /[0-9]/* "]"', tokenizer, len(VOCABULARY), 1000)
    for start in range(10):
        for length in range(0, 2000, 100):
            assert grammar.judge(b"[" + str(start).encode() * length)[0]
    assert len(grammar._cursors) < 10
    assert sum(len(cursor.text) for cursor in grammar._cursors) <= 6000


def test_whole_texts_are_judged_without_a_model() -> None:
    both = c.And((c.Grammar(c.Const('start: "a"+ "b"')), c.Count("chars", "<", c.Const(4))))
    assert [text_holds(both, text, 1) for text in ("ab", "aab", "aaab", "a", "", "\ud800")] == [True, True, False, False, False, False]
    assert text_holds(c.Not(both), "\ud800", 1) is text_holds(c.Not(c.Equals(c.Const("a"))), "\ud800", 1)

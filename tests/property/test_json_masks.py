"""Schemas through masks: what is sampled is JSON that meets the schema; values that meet it can be written."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import jsonschema
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.forms import unpack
from lmqlc.grammar.errors import UnsatisfiableConstraint

EXAMPLES = int(os.environ.get("LMQLC_SCHEMAS", "4000" if os.environ.get("LMQLC_LONG") else "150"))
PAIRS = [b'": ', b'", "', b"], [", b'{"', b'"a', b"12", b"tr", b"ue", b"null", b"\xc3\xa9", b'"}', b"}}", b"]]", b"\\u00", b"0.", b"e-"]
VOCABULARY = Vocabulary.build([*(bytes([i]) for i in range(256)), *PAIRS, b"<e>"], [256 + len(PAIRS)])

KEYS = st.sampled_from(["a", "b", "é", "key", 'q"', "x y"])
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": "integer"}),
    st.just({"type": "number"}),
    st.builds(lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, st.integers(-50, 50), st.integers(0, 200)),
    st.just({"type": "string"}),
    st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, st.integers(0, 3), st.integers(0, 3)),
    st.just({"type": "string", "pattern": "^[a-c]{1,3}$"}),
    st.builds(lambda values: {"enum": values}, st.lists(st.sampled_from(["a", "ab", 1, None, True, [1, "x"]]), min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, st.sampled_from(["x", 0, {"k": [1]}])),
)


@st.composite
def objects(draw: st.DrawFn, below: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(KEYS, below, max_size=3))
    required = [key for key in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required}


def grown(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = st.builds(lambda item, n: {"type": "array", "items": item, "maxItems": n}, below, st.integers(0, 3))
    return st.one_of(objects(below), arrays, st.builds(lambda parts: {"anyOf": parts}, st.lists(below, min_size=1, max_size=3)))


SCHEMAS = st.recursive(LEAVES, grown, max_leaves=5)
NODE = {"v": {"type": "integer"}, "k": {"type": "array", "items": {"$ref": "#/$defs/t"}}}
TREE = {"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": NODE, "required": ["v"]}}}


def value_of(schema: Any, rng: random.Random, depth: int = 0) -> Any:
    """A value that meets a schema of the kinds above, keys in declared order."""
    if "$defs" in schema:
        return value_of({"tree": True}, rng)
    if "tree" in schema:
        kids = [value_of(schema, rng, depth + 1) for _ in range(rng.randrange(3) if depth < 3 else 0)]
        return {"v": rng.randrange(-5, 1000), **({"k": kids} if rng.random() < 0.7 else {})}
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return value_of(rng.choice(schema["anyOf"]), rng)
    if schema["type"] == "object":
        chosen = [key for key in schema["properties"] if key in schema["required"] or rng.random() < 0.5]
        return {key: value_of(schema["properties"][key], rng) for key in chosen}
    if schema["type"] == "array":
        return [value_of(schema["items"], rng) for _ in range(rng.randint(0, schema["maxItems"]))]
    if schema["type"] == "string":
        letters = "abc" if "pattern" in schema else 'abcé"\\\n\x1f漢😀'
        return "".join(rng.choice(letters) for _ in range(rng.randint(schema.get("minLength", 1), schema.get("maxLength", 3))))
    low, high = schema.get("minimum", -(10**6)), schema.get("maximum", 10**6)
    plain = {"boolean": rng.random() < 0.5, "null": None, "integer": rng.randint(low, high), "number": rng.randint(-99, 99) / 4}
    return plain[schema["type"]]


def sample(made: Any, rng: random.Random) -> str | None:
    """A text drawn through the masks, that ends soon; None where it does not end within 300 tokens."""
    state, text = made.start(), b""
    for _ in range(300):
        if made.is_closed(state):
            return text.decode()
        ids = unpack(made.mask(state), len(VOCABULARY)).nonzero()[0].tolist()
        assert ids, text
        ends = [i for i in ids if (VOCABULARY.tokens[i] or b"]")[-1:] in b'"]}']
        token = rng.choice(ends if ends and rng.random() < 0.6 else ids)
        if token in VOCABULARY.eos_ids:
            assert made.is_final(state)
            return text.decode()
        state = made.advance(state, token)
        assert state is not None and made.stopped(state) is None
        text += VOCABULARY.tokens[token]
    return None


def closed(schema: Any) -> Any:
    """The schema as the language reads it: no other keys."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value if key in ("enum", "const") else closed(value) for key, value in schema.items()}
    return {**made, "additionalProperties": False} if isinstance(schema.get("properties"), dict) and "type" in schema else made


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS | st.just(TREE), st.integers(0, 1 << 32))
def test_schemas(schema: Any, seed: int) -> None:
    rng = random.Random(seed)
    try:
        made = compose(c.Json(c.Const(schema)), VOCABULARY)
    except UnsatisfiableConstraint:
        assume(False)
        return
    check = jsonschema.Draft202012Validator(closed(schema))
    for _ in range(4):
        text = sample(made, rng)
        if text is not None:
            value = json.loads(text)
            assert check.is_valid(value), text
            assert text.count("\n") == 0
    for _ in range(4):
        value = value_of(schema, rng)
        assert check.is_valid(value), value
        text = json.dumps(value, ensure_ascii=False)
        assert accepts(made, text, rng), text


def accepts(made: Any, text: str, rng: random.Random) -> bool:
    """The text can be written, split into tokens at random, and is valid."""
    state, data = made.start(), text.encode()
    while data:
        fits = [i for i, token in enumerate(VOCABULARY.tokens) if token and data.startswith(token)]
        token = rng.choice(fits)
        state = made.advance(state, token)
        if state is None:
            return False
        data = data[len(VOCABULARY.tokens[token]) :]
    return bool(made.is_final(state))

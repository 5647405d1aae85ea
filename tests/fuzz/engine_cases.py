"""Random Lark grammars and JSON schemas that are made to hurt: loops of empty rules, ambiguity, deep and exponential references, greedy
terminals, huge counts, large enumerations and patterns.

`python tests/fuzz/engine_cases.py FIRST COUNT` compiles those of some seeds over a small vocabulary, takes masks along a random walk, and
prints, as JSON, what they took; a process of its own, so that its peak of memory, and its worker processes, are theirs.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from constraint_cases import Dice, pattern, vocabulary

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.external import workers
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.workers.limits import resident
from lmqlc.grammar.errors import ConstraintViolated, LmqlCompileError, UnsatisfiableConstraint

COUNTS = [0, 1, 1, 2, 3, 5, 30, 1000, 10**6, 10**9]
LETTERS = 'ab01" ,\\né('
STEPS = 12


def _literal(dice: Dice) -> str:
    return json.dumps("".join(dice.choices(LETTERS, k=dice.choice([0, 1, 1, 1, 2, 8]))))


def _regex(dice: Dice) -> str:
    """A pattern between slashes, sometimes one that no engine reads."""
    words = [
        "a+",
        "a*",
        "[ab]+",
        "a+b",
        "(a|aa)+",
        "(a*)*",
        "[^b]*",
        "(a?){30}a{30}",
        "(a|b)*a(a|b){18}",
        ".*a.{12}",
        "(.*a.*){9}",
        "x{1,9999}",
    ]
    found = dice.choice(words) if dice.random() < 0.7 else pattern(dice, 2).replace("/", "").replace("\n", "")
    return f"/{found or 'a'}/"


def _count(dice: Dice) -> str:
    low, high = sorted((dice.choice(COUNTS), dice.choice(COUNTS)))
    return dice.choice(["?", "*", "+", "", "", "", f"~{low}", f"~{low}..{high}", f"{{{low},{high}}}"])


def _part(dice: Dice, names: list[str], depth: int) -> str:
    kind = dice.random()
    if depth and kind < 0.25:
        inner = " | ".join(_part(dice, names, depth - 1) for _ in range(dice.choice([1, 2, 3])))
        return f"({inner}){_count(dice)}"
    if kind < 0.75:
        return dice.choice(names) + _count(dice)
    return dice.choice([_literal, _regex])(dice) + _count(dice)


def _rule(dice: Dice, name: str, names: list[str]) -> str:
    options = [" ".join(_part(dice, names, 2) for _ in range(dice.choice([0, 1, 1, 2, 2, 3]))) for _ in range(dice.choice([1, 2, 2, 3]))]
    return f"{name}: " + " | ".join(option or '""' for option in options)


def random_grammar(dice: Dice) -> str:
    """Rules that refer to each other in any way, and terminals that overlap."""
    rules = [f"r{i}" for i in range(dice.choice([1, 2, 3, 5, 9]))]
    terminals = [f"T{i}" for i in range(dice.choice([1, 2, 3, 4]))]
    lines = ["start: " + " ".join(_part(dice, rules + terminals, 1) for _ in range(dice.choice([1, 2, 3])))]
    lines += [_rule(dice, name, rules + terminals) for name in rules]
    for at, name in enumerate(terminals):
        inner = terminals[at + 1 :] if dice.random() < 0.8 else terminals
        lines.append(f"{name}: " + " ".join(_part(dice, inner, 1) if inner else _regex(dice) for _ in range(dice.choice([1, 1, 2]))))
    return "\n".join([*lines, *(["%ignore / /"] if dice.random() < 0.2 else [])])


def chained_grammar(dice: Dice) -> str:
    """Rules that each refer to the next one, thousands deep or doubling at each step."""
    count, form = (
        dice.choice([20, 60, 1000, 4000]),
        dice.choice(["{n}", "{n} {n}", "[{n}]", "{n}*", "{n} | {n}", "({n} | {m})+", '"x"? {n}', "{p} {n}"]),
    )
    name = dice.choice(["r", "R"])
    lines = [
        f"{name}{i}: " + form.format(n=f"{name}{i + 1}", m=f"{name}{min(i + 2, count)}", p=f"{name}{max(0, i - 1)}") for i in range(count)
    ]
    return "\n".join([f"start: {name}0", *lines, f"{name}{count}: " + dice.choice([_literal, _regex])(dice)])


def nested_grammar(dice: Dice) -> str:
    """Groups within groups, in a rule or in a pattern; and long alternatives."""
    if dice.random() < 0.3:
        return (
            "start: ("
            + " | ".join(json.dumps(f"{dice.randrange(10**6)}") for _ in range(dice.choice([100, 2000, 9000])))
            + ")"
            + _count(dice)
        )
    depth, (opened, closed) = dice.choice([20, 90, 5000]), dice.choice(["()", "[]", ("(", ")*"), ("(", "|b)?"), ("(", "){1,9}")])
    inner = opened * depth + "a" + closed * depth
    return (
        f"start: /{inner}/" if dice.random() < 0.5 else "start: " + inner.replace("a", '"a"').replace("b", '"b"').replace("{1,9}", "~1..9")
    )


def _schema(dice: Dice, depth: int) -> Any:
    kind = dice.choice(["string", "integer", "number", "array", "object", "join", "ref", "enum", "any"])
    if depth == 0 and kind in ("array", "object", "join"):
        kind = "string"
    if kind == "string":
        return {"type": "string"} | _some(
            dice,
            minLength=dice.choice(COUNTS),
            maxLength=dice.choice(COUNTS),
            pattern=_regex(dice)[1:-1],
            format=dice.choice(["date", "uuid", "email", "odd"]),
        )
    if kind in ("integer", "number"):
        bounds = [dice.choice([1, -1]) * dice.choice([0, 1, 7, 10**6, 10**18, 10**30, 1e-300, 1e300, 0.1]) for _ in range(2)]
        return {"type": kind} | _some(
            dice, minimum=min(bounds), maximum=max(bounds), multipleOf=dice.choice([2, 7, 64, 1000, 1000003, 0.01, 1e-9])
        )
    if kind == "array":
        return {"type": "array", "items": _schema(dice, depth - 1)} | _some(
            dice, minItems=dice.choice(COUNTS), maxItems=dice.choice(COUNTS), uniqueItems=dice.random() < 0.1
        )
    if kind == "object":
        keys = [f"k{i}" for i in range(dice.choice([0, 1, 2, 5, 5, 40, 700]))]
        parts = {key: _schema(dice, depth - 1) if len(keys) < 9 else {"type": dice.choice(["integer", "string"])} for key in keys}
        more = {
            "patternProperties": {_regex(dice)[1:-1]: {}},
            "required": dice.sample(keys, len(keys) // 2),
            "additionalProperties": _schema(dice, 0),
        }
        return {"type": "object", "properties": parts} | _some(dice, **more)
    if kind == "join":
        parts_of = [_schema(dice, depth - 1) for _ in range(dice.choice([1, 2, 2, 3, 29]))]
        return {dice.choice(["allOf", "anyOf", "anyOf", "oneOf"]): parts_of}
    if kind == "ref":
        return {"$ref": dice.choice(["#", "#/$defs/d0", "#/$defs/d1", "#/$defs/d2"])}
    if kind == "enum":
        return {"enum": [dice.choice([i, f"text {i}", [i], {"a": i}]) for i in range(dice.choice([1, 3, 50, 3000]))]}
    return {}


def _some(dice: Dice, **parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if dice.random() < 0.3}


def random_schema(dice: Dice) -> Any:
    """A schema with definitions that refer to each other, also in circles."""
    return {"$defs": {f"d{i}": _schema(dice, 2) for i in range(3)}, **_schema(dice, 3)}


def chained_schema(dice: Dice) -> Any:
    """Definitions that each refer to the next one, or doubling; or a schema within a schema."""
    count, last = dice.choice([5, 25, 60, 400, 1500]), _schema(dice, 0)
    joins = [
        lambda ref: ref,
        lambda ref: {"allOf": [ref]},
        lambda ref: {"allOf": [ref, ref]},
        lambda ref: {"anyOf": [ref, ref]},
        lambda ref: {"type": "array", "items": ref},
        lambda ref: {"type": "object", "properties": {"a": ref, "b": ref}, "required": ["a"]},
    ]
    join = dice.choice(joins)
    if dice.random() < 0.3:
        for _ in range(min(count, 150)):
            last = join(last) if join is not joins[2] and join is not joins[3] and join is not joins[5] else {"allOf": [last]}
        return last
    definitions = {f"d{i}": join({"$ref": f"#/$defs/d{i + 1}"}) for i in range(count)}
    return {"$defs": definitions | {f"d{count}": last}, "$ref": "#/$defs/d0"}


def case(seed: int) -> c.Constraint:
    """The constraint of a seed."""
    dice = Dice(seed)
    make = dice.choice(
        [random_grammar, random_grammar, random_grammar, chained_grammar, nested_grammar, random_schema, random_schema, chained_schema]
    )
    made = make(dice)
    return c.Grammar(c.Const(made)) if isinstance(made, str) else c.Json(c.Const(made))


def walk(tokens: TokenConstraint, dice: random.Random) -> None:
    """Masks and forced text along a random text."""
    state = tokens.start()
    for _ in range(STEPS):
        for token_id in tokens.forced(state)[:200]:
            after = tokens.advance(state, token_id)
            if after is None:
                return
            state = after
        bits = tokens.mask(state)
        words = bits.nonzero()[0]
        if tokens.stopped(state) is not None or not len(words):
            return
        word = int(dice.choice(words))
        bit = dice.choice([bit for bit in range(32) if int(bits[word]) >> bit & 1])
        after = tokens.advance(state, 32 * word + bit)
        assert after is not None
        state = after


def outcome(constraint: c.Constraint, seed: int, tokens: Vocabulary) -> str:
    """What became of a constraint: `masks`, `unsatisfiable`, `refused` by the engine, `failed` at a text, or `given up`."""
    encode = {token: number for number, token in enumerate(tokens.tokens) if len(token) == 1}
    try:
        walk(compose(constraint, tokens, encode=lambda text: [encode[bytes([byte])] for byte in text.encode()]), random.Random(seed))
    except UnsatisfiableConstraint:
        return "unsatisfiable"
    except (LmqlCompileError, ConstraintViolated) as problem:
        if "crashed" in str(problem):
            return "crashed"
        given_up = "computing time" in str(problem) or "MB of memory" in str(problem)
        return "given up" if given_up else "failed" if isinstance(problem, ConstraintViolated) else "refused"
    return "masks"


class Watch:
    """The most memory that the worker processes held, in megabytes."""

    def __init__(self) -> None:
        self.most = 0.0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(0.02)
            self.most = max([self.most, *((resident(pid) or 0) / (1 << 20) for pid in workers().processes)])


def main(first: int, count: int) -> None:
    warnings.simplefilter("ignore")
    tokens = vocabulary()
    outcome(c.Json(None), 0, tokens)
    watch = Watch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: collections.Counter[str] = collections.Counter()
    slowest: list[tuple[float, int, str]] = []
    for seed in range(first, first + count):
        begin = time.monotonic()
        found = outcome(case(seed), seed, tokens)
        outcomes[found] += 1
        slowest = sorted([*slowest, (round(time.monotonic() - begin, 2), seed, found)], reverse=True)[:5]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found_all = {"slowest": slowest, "megabytes": grown, "worker_megabytes": round(watch.most), "outcomes": outcomes}
    print(json.dumps(found_all | {"workers": len(workers().processes)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

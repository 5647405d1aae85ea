"""Random patterns and formulas that are made to hurt: nested counts, many alternatives, look-around, large operands, deep negation.

`python tests/fuzz/constraint_cases.py FIRST COUNT` compiles those of some seeds over a small vocabulary and prints, as JSON, what they
took; a process of its own, so that its peak of memory is theirs.
"""

from __future__ import annotations

import collections
import json
import random
import re
import resource
import sys
import time
import warnings

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.core import forget_cores
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint

LETTERS = 'abcxyz019 _-.,\n"é日😀ßſK\u0301'
CLASSES = [".", r"\w", r"\W", r"\d", r"\s", "[ab]", "[^a]", "[^\\n]", "[é-日]", "[^\\W_]", "(?i:k)", "(?s:.)", "[a-z0-9_]", "[😀-🙏]"]
LOOKS = ["(?=%s)", "(?!%s)", "(?=.*%s)", "(?!.*%s)", r"(?<=%s)", r"(?<!%s)", r"\b", r"\B", "(?>%s)"]
FLAGS = ["", "", "", "(?i)", "(?s)", "(?m)", "(?a)", "(?is)"]
SMALL = [1, 1, 2, 2, 2, 3, 3, 5, 8, 13, 31]
BIG = [*SMALL, 100, 1000, 100_000]
HARD = 0.1
"""The share of cases with large counts and deep nesting."""
UNITS: list[c.Unit] = ["chars", "words", "sentences", "tokens"]
OPS: list[c.Op] = ["<", "<=", "==", "!=", ">=", ">"]
TESTS: list[c.TextTest] = ["isdigit", "isalpha", "isalnum", "isupper", "islower"]


class Dice(random.Random):
    """hard: whether the case may be far too large."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.hard = self.random() < HARD


def _text(dice: Dice, most: int) -> str:
    return "".join(dice.choices(LETTERS, k=dice.randint(0, most)))


def _quantifier(dice: Dice) -> str:
    sizes = BIG if dice.hard else SMALL
    low, high = sorted((dice.choice(sizes), dice.choice(sizes)))
    plain = ["*", "+", "?", f"{{{low}}}", f"{{{low},{high}}}", f"{{0,{high}}}", f"{{{low},}}"]
    return dice.choice(plain) + dice.choice(["", "", "", "", "?", "+"])


def pattern(dice: Dice, depth: int = 4) -> str:
    """A pattern; some are not valid, some have no text, some are far too large."""
    kind = dice.random()
    if depth == 0 or kind < 0.2:
        return dice.choice(CLASSES) if dice.random() < 0.5 else re.escape(_text(dice, 5))
    if kind < 0.45:
        return "".join(pattern(dice, depth - 1) for _ in range(dice.randint(2, 4)))
    if kind < 0.62:
        return "(?:" + "|".join(pattern(dice, depth - 1) for _ in range(dice.choice([2, 2, 3, 5, 12]))) + ")"
    if kind < 0.9:
        return f"(?:{pattern(dice, depth - 1)}){_quantifier(dice)}"
    look = dice.choice(LOOKS)
    return look % pattern(dice, depth - 2 if depth > 1 else 0) if "%s" in look else look


def _words(dice: Dice) -> list[str]:
    count = dice.choice([0, 1, 2, 10, 100, 1000] if dice.hard else [0, 1, 2, 3, 10, 30])
    return [_text(dice, 12) for _ in range(count)]


def _number(dice: Dice) -> c.Constraint:
    kind: c.NumberKind = dice.choice(["int", "float"])
    bound = dice.choice([dice.randint(-1000, 1000), dice.uniform(-10, 10), 10 ** dice.randint(0, 300), 10.0 ** dice.randint(-200, 200)])
    return c.NumberCompare(kind, dice.choice(OPS), c.Const(bound))


def atom(dice: Dice) -> c.Constraint:
    """One regular atom with operands of any size."""
    kind = dice.randrange(11)
    if kind == 0:
        return c.InSet(c.Const(_words(dice)))
    if kind == 1:
        return c.InSet(c.Const(_text(dice, dice.choice([5, 50, 500]))))
    if kind == 2:
        return c.Contains(c.Const(_text(dice, dice.choice([1, 3, 8, 100]))))
    if kind == 3:
        return dice.choice([c.StartsWith, c.EndsWith])(c.Const(_text(dice, dice.choice([1, 3, 20]))))
    if kind == 4:
        return c.TextIs(dice.choice(TESTS))
    if kind == 5:
        return c.Number(dice.choice(["int", "float"]))
    if kind == 6:
        return _number(dice)
    if kind in (7, 8):
        return c.Count(dice.choice(UNITS), dice.choice(OPS), c.Const(dice.choice([0, 1, 2, 3, 7, 20, 50, 200, 1000, 10**6, 10**9])))
    return c.Matches(c.Const(pattern(dice, dice.randint(1, 3))))


def formula(dice: Dice, depth: int = 4) -> c.Constraint:
    """A formula over regular atoms."""
    kind = dice.random()
    if depth == 0 or kind < 0.25:
        return atom(dice)
    if kind < 0.45:
        return c.Not(formula(dice, depth - 1))
    join: type[c.And] | type[c.Or] = dice.choice([c.And, c.Or])
    return join(tuple(formula(dice, depth - 1) for _ in range(dice.choice([2, 2, 3, 6]))))


def case(seed: int) -> c.Constraint:
    """The constraint of a seed: a pattern, a formula, or a formula with stops."""
    dice = Dice(seed)
    kind = dice.random()
    if kind < 0.5:
        return c.Matches(c.Const(dice.choice(FLAGS) + pattern(dice, dice.choice([2, 3, 3, 4, 5] if dice.hard else [1, 2, 2, 3]))))
    found = formula(dice, dice.choice([1, 2, 3, 4] if dice.hard else [1, 1, 2]))
    if kind < 0.8:
        return found
    phrases = [dice.choice([_text(dice, 4) or ".", re.compile(dice.choice(["a+b?", r"\d{2}", "[.!?]+", r"\s{3,9}"]))]) for _ in range(3)]
    return c.And((found, *(c.Stop(c.Const(phrase), dice.random() < 0.5) for phrase in phrases[: dice.randint(1, 3)])))


def vocabulary() -> Vocabulary:
    """Every byte, and two thousand longer tokens that split characters anywhere."""
    dice = random.Random(1)
    text = "".join(dice.choices(LETTERS, k=20_000)).encode()
    starts = [dice.randrange(len(text) - 8) for _ in range(2_000)]
    longer = sorted({text[at : at + dice.randint(2, 8)] for at in starts})
    return Vocabulary.build([b"", *(bytes([byte]) for byte in range(256)), *longer], eos_ids=[0])


def walk(tokens: TokenConstraint, dice: random.Random) -> None:
    """Masks along a few random tokens."""
    state = tokens.start()
    for _ in range(5):
        bits = tokens.mask(state)
        words = bits.nonzero()[0]
        if tokens.stopped(state) is not None or not len(words):
            return
        word = int(dice.choice(words))
        bit = dice.choice([bit for bit in range(32) if int(bits[word]) >> bit & 1])
        after = tokens.advance(state, 32 * word + bit)
        assert after is not None
        state = after


def outcome(seed: int, tokens: Vocabulary) -> str:
    """What became of a case: `masks`, `unsatisfiable`, or why it cannot be compiled."""
    forget_cores()
    try:
        walk(compose(case(seed), tokens), random.Random(seed))
    except UnsatisfiableConstraint:
        return "unsatisfiable"
    except LmqlCompileError as problem:
        message = problem.diagnostics[0].message
        return "too large" if "too large" in message else "refused"
    return "masks"


def main(first: int, count: int) -> None:
    warnings.simplefilter("ignore")
    tokens = vocabulary()
    outcome(0, tokens)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: collections.Counter[str] = collections.Counter()
    slowest = (0.0, -1)
    for seed in range(first, first + count):
        begin = time.process_time()
        outcomes[outcome(seed, tokens)] += 1
        slowest = max(slowest, (time.process_time() - begin, seed))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": slowest[0], "seed": slowest[1], "megabytes": grown, "outcomes": outcomes}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""Arithmetic as training text: sums, products, and small word problems solved step by step."""

from __future__ import annotations

from random import Random

from lmqlc.backends.demo import words

_WORDS = {"+": "plus", "-": "minus", "*": "times"}
_THINGS = ("apples", "books", "coins", "eggs", "pens", "balls", "cups", "stamps")


def calculation(rng: Random) -> tuple[int, str, int, int]:
    """Two numbers, the sign between them, and the result (never negative): mostly small, up to two digits."""
    sign = rng.choice("++-*")
    top = 12 if sign == "*" else rng.choice((10, 20, 20, 20, 99))
    first, second = rng.randint(0, top), rng.randint(0, top)
    if sign == "-" and second > first:
        first, second = second, first
    result = {"+": first + second, "-": first - second, "*": first * second}[sign]
    return first, sign, second, result


def equations(rng: Random) -> str:
    """One to twelve equations, one a line, in one layout."""
    space = rng.choice((" ", " ", ""))
    lines = []
    for _ in range(rng.choice((1, 3, 6, 12))):
        first, sign, second, result = calculation(rng)
        lines.append(f"{first}{space}{sign}{space}{second}{space}={space}{result}\n")
    return "".join(lines)


def spoken(rng: Random) -> str:
    """A calculation as question and answer or as a sentence."""
    first, sign, second, result = calculation(rng)
    term = rng.choice((f"{first} {sign} {second}", f"{first} {_WORDS[sign]} {second}"))
    layouts = (
        f"Q: What is {term}?\nA: {result}\n",
        f"Q: How much is {term}?\nA: {result}\n",
        f"What is {term}? {result}\n",
        f"{term} is {result}.\n",
        f"Calculate {term}.\nResult: {result}\n",
        f"User: What is {term}?\nAssistant: {term} is {result}.\n",
        f"Question: What is {term}?\nAnswer: {result}\n",
    )
    return rng.choice(layouts)


def table(rng: Random) -> str:
    """A piece of a times table."""
    factor = rng.randint(2, 12)
    start = rng.randint(1, 6)
    return "".join(f"{number} * {factor} = {number * factor}\n" for number in range(start, start + 5))


def counting(rng: Random) -> str:
    """Counting on, in words or digits, by one, two, five or ten."""
    if rng.random() < 0.3:
        start = rng.randrange(6)
        return "Count: " + ", ".join(words.NUMBERS[start : start + 6]) + "\n"
    step = rng.choice((1, 1, 2, 5, 10))
    start = step * rng.randint(0, 6)
    return "Count: " + ", ".join(str(start + step * place) for place in range(8)) + "\n"


def story(rng: Random) -> tuple[str, str, int]:
    """A word problem: its text, the steps to solve it, and the result."""
    name, thing = words.name(rng), rng.choice(_THINGS)
    first, second = rng.randint(3, 12), rng.randint(1, 9)
    if rng.random() < 0.5:
        verb = rng.choice(("buys", "finds", "gets"))
        event, term, result = f"{verb} {second} more", f"{first} + {second}", first + second
    else:
        second = min(second, first)
        verb = rng.choice(("eats", "loses", "sells") if thing in ("apples", "eggs") else ("loses", "sells"))
        event, term, result = f"{verb} {second}", f"{first} - {second}", first - second
    problem = f"{name} has {first} {thing} and {event}. How many {thing} does {name} have now?"
    steps = f"{name} has {first} {thing}. {name} {event}. {term} = {result}."
    return problem, steps, result


def problem(rng: Random) -> str:
    """A word problem with its steps and its result."""
    text, steps, result = story(rng)
    ask, reply = rng.choice((("Q:", "A:"), ("Question:", "Answer:")))
    layouts = (
        f"{ask} {text}\n{reply} Let's think step by step. {steps}\nSo the answer is {result}.\n",
        f"{ask} {text}\n{reply} Let us think step by step.\n{steps}\nThe answer is {result}.\n",
        f"{ask} {text}\nThought: {steps}\n{reply} {result}\n",
        f"{ask} {text}\nReasoning: {steps}\n{reply} {result}\n",
    )
    return rng.choice(layouts)


def tool_use(rng: Random) -> str:
    """A calculation done with a calculator, as thoughts, actions and observations."""
    first, sign, second, result = calculation(rng)
    term = f"{first} {sign} {second}"
    return (
        f"Question: What is {term}?\nThought: I should calculate {term}.\nAction: calculate({term})\n"
        f"Observation: {result}\nThought: I know the answer now.\nAction: finish({result})\n"
    )


def turns(rng: Random) -> tuple[tuple[str, str], ...]:
    """A chat with one calculation."""
    first, sign, second, result = calculation(rng)
    term = rng.choice((f"{first} {sign} {second}", f"{first} {_WORDS[sign]} {second}"))
    return (("user", f"What is {term}?"), ("assistant", f"{term} is {result}."))

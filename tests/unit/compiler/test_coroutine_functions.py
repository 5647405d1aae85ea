"""Functions with holes, and calls that are awaited without being told to."""

from __future__ import annotations

from typing import Any

import pytest

ASK = 'def ask(q="?", *, tail=""):\n    "Ask."\n    "{q}[A]{tail}"\n    return A\n'
LATER = "import asyncio\nasync def later(x):\n    await asyncio.sleep(0)\n    return x\n"


def test_a_function_with_holes_continues_the_prompt(run: Any) -> None:
    fake = run(ASK + 'x = ask("1")\ny = ask(tail="!")\nreturn x + y', ["a", "b"])
    assert (fake.prompt, fake.returned) == ("1a?b!", ["ab"])
    assert "A" not in fake.namespace


def test_holes_of_a_function_are_its_own_unless_global(run: Any) -> None:
    fake = run('def f():\n    global A\n    "[A][B]"\nf()\nreturn A', ["a", "b"])
    assert fake.returned == ["a"]
    assert "B" not in fake.namespace


def test_nonlocal_holes(run: Any) -> None:
    text = """
def outer():
    X = "-"
    def inner():
        nonlocal X
        "[X]"
    inner()
    "[Y]"
    return X + Y
return outer()
"""
    assert run(text, ["a", "b"]).returned == ["ab"]


def test_recursion(run: Any) -> None:
    text = 'def count(n):\n    "Count."\n    "[X]"\n    return [X] + (count(n - 1) if n else [])\nreturn count(2)'
    assert run(text, "abc").returned == [["a", "b", "c"]]


def test_methods_with_holes(run: Any) -> None:
    text = """
class Base:
    def ask(self): return "base"
class Chat(Base):
    def ask(self):
        self.asked = True
        "[X]"
        return [X, super().ask(), self.plain()]
    def plain(self): return __class__.__name__
    async def __call__(self, n):
        pass
        "[Y]"
        return Y * n
c = Chat()
return [c.ask(), c(2)]
"""
    assert run(text, ["a", "b"]).returned == [[["a", "base", "Chat"], "bb"]]


def test_docstrings_of_prompt_functions_are_no_prompts(run: Any) -> None:
    fake = run('def f():\n    """Documentation."""\n    "[X]"\nf()\nreturn f.__doc__', ["a"])
    assert (fake.prompt, fake.returned) == ("a", ["Documentation."])


def test_functions_without_holes_are_plain(run: Any) -> None:
    fake = run('def f(x):\n    "no prompt {x}"\n    return x\nreturn [f(y) for y in "ab"]')
    assert (fake.events, fake.returned) == ([], [["a", "b"]])


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("later(1) + later(2)", 3),
        ("await later(1)", 1),
        ("[later(x) for x in range(3) if later(x)]", [1, 2]),
        ("{later(x): later(x) for x in range(2)}", {0: 0, 1: 1}),
        ("{later(x) for x in range(2)}", {0, 1}),
        ("sum(later(x) for x in range(4))", 6),
        ("list(x for x in later([1]))", [1]),
        ("next(later(x) for x in range(3) if later(x) > 1)", 2),
        ("[[later(y) for y in range(x)] for x in range(2)]", [[], [0]]),
        ("sum(sum(later(y) for y in range(x)) for x in range(4))", 4),
        ("later(0) and later(1 / 0)", 0),
        ("later(1) or later(1 / 0)", 1),
        ("later(1) if later(True) else later(1 / 0)", 1),
        ("f'{later(1)}{later(2)!r:>3}'", "1  2"),
        ("max(*later([1, 2]), **later({'key': int}))", 2),
        ("later(later)(2)", 2),
        ("0 < later(1) < later(2) < 3", True),
        ("(lambda: later(1))()", 1),
        ("await asyncio.gather(later(1), later(2))", [1, 2]),
        ("await asyncio.gather(*(later(x) for x in range(2)))", [0, 1]),
        ("asyncio.wait_for(later(3), 1)", 3),
        ("await asyncio.create_task(later(1))", 1),
        ("(y := later(2)) + y", 4),
        ("[x async for x in agen()]", [0, 1]),
        ("[later(x) async for x in agen()]", [0, 1]),
        ("[(y := later(x)) for x in range(3)] + [y]", [0, 1, 2, 2]),
    ],
)
def test_calls_are_awaited_where_python_would_see_a_coroutine(run: Any, code: str, value: Any) -> None:
    agen = "async def agen():\n    for i in range(2): yield i\n"
    assert run(f"{LATER}{agen}return {code}").returned == [value]


def test_lambdas_plain_functions_and_class_bodies_stay_as_written(run: Any) -> None:
    text = (
        LATER
        + "def plain(): return later(1)\nclass C:\n    value = later(2)\n    def m(self): return later(3)\n"
        + "f = lambda: later(4)\nvalues = [plain, C().m, f]\n"
        + "return [(await v()) for v in values] + [await C.value]"
    )
    assert run(text).returned == [[1, 3, 4, 2]]


def test_statements_with_awaited_calls(run: Any) -> None:
    text = (
        LATER
        + """
import contextlib
@contextlib.asynccontextmanager
async def manager(x):
    yield x
out = []
for x in later([1, 2]):
    out.append(later(x))
while later(len(out) < 3): out.append(later(9))
async with manager(5) as m, later(manager(6)) as n: out += [m, n]
out[later(0)] = later(7)
out[later(1)] += later(1)
assert later(True), later("no")
try:
    raise later(ValueError("x"))
except later(ValueError) as error:
    out.append(str(error))
match later(3):
    case y if later(y == 3): out.append(y)
def g(x=later(8)): return x
@later(lambda f: f)
class K(later(dict)): pass
out.append(g()); out.append(issubclass(K, dict))
del out[later(2)]
async def agen():
    yield 1
async for x in agen(): out.append(x)
return out
"""
    )
    assert run(text).returned == [[7, 3, 5, 6, "x", 3, 8, True, 1]]


def test_task_groups_take_coroutines(run: Any) -> None:
    text = LATER + "loop = asyncio.get_running_loop()\nt = loop.create_task(later(3))\nreturn await t"
    assert run(text).returned == [3]


def test_asyncio_by_other_names(run: Any) -> None:
    text = (
        LATER
        + "import asyncio as aio\nfrom asyncio import gather as together\nreturn (await together(later(1))) + (await aio.gather(later(2)))"
    )
    assert run(text).returned == [[1, 2]]


def test_a_shadowed_builtin_is_awaited(run: Any) -> None:
    assert run("async def len(x): return 7\nreturn len('abc')").returned == [7]


def test_evaluation_order(run: Any) -> None:
    text = "log = []\ndef t(x):\n    log.append(x)\n    return x\ndef f(*a, **k): return t(4)\nt(f)(t(1), *[t(2)], k=t(3))\nreturn log[1:]"
    assert run(text).returned == [[1, 2, 3, 4]]


def test_async_generators_with_holes(run: Any) -> None:
    text = 'async def gen(n):\n    for i in range(n):\n        "[X]"\n        yield X\nreturn [x async for x in gen(2)]'
    assert run(text, ["a", "b"]).returned == [["a", "b"]]

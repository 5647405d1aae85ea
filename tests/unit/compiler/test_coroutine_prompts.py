"""What the coroutine of a program calls for its query strings."""

from __future__ import annotations

import traceback
from typing import Any

import pytest


def test_text_is_the_exact_concatenation(run: Any) -> None:
    fake = run('"a\\n" "b"\nr"\\n"\n"c{{}}[[x]]"\n""\n')
    assert fake.events == [("text", "a\nb"), ("text", "\\n"), ("text", "c{}[x]")]


def test_values_are_formatted_as_in_an_f_string(run: Any) -> None:
    fake = run('w = 8\n"{x}|{x!r}|{y:.2f}|{x!r:>{w}}|{x:{w}}|{y!s}|{x!a}"', x="ä", y=1.5)
    x, y, w = "ä", 1.5, 8
    assert fake.prompt == f"{x}|{x!r}|{y:.2f}|{x!r:>{w}}|{x:{w}}|{y!s}|{x!a}"


def test_values_after_a_hole_see_it(run: Any) -> None:
    fake = run('"[X]{X.upper()}[Y]{X + Y}"', ["a", "b"])
    assert fake.prompt == "aAbab"


def test_role_tags(run: Any) -> None:
    fake = run('"{:system}be kind{:user}hi{:assistant}[X]"', ["yo"])
    assert [event[:2] for event in fake.events] == [
        ("role", "system"),
        ("text", "be kind"),
        ("role", "user"),
        ("text", "hi"),
        ("role", "assistant"),
        ("hole", "X"),
    ]


def test_values_stay_inert(run: Any) -> None:
    fake = run('"{x}"', x="[Y] {:user} \\n")
    assert fake.events == [("value", "[Y] {:user} \\n")]


def test_hole_values_bind_in_the_program(run: Any) -> None:
    fake = run('for i in range(3):\n    "[X]"\n    xs.append(X)\nreturn xs', ["a", "b", "c"], xs=[])
    assert fake.returned == [["a", "b", "c"]]
    assert fake.namespace["X"] == "c"


def test_type_and_decorators_reach_the_host(run: Any) -> None:
    fake = run('def up(v): return v.upper()\ndef twice(n): return lambda v: v * n\n"[@up @twice(2) X: str]"', ["a"])
    assert fake.events == [("hole", "X", (), str, "AA")]


def test_type_that_calls_a_query_is_not_awaited_before_the_hole(run: Any) -> None:
    fake = run('def ask(n):\n    "ask"\n    "{n}[A]"\n    return A * 2\n"[X: ask(3)]"\nreturn X', ["a"])
    assert fake.returned == ["aa"]
    assert [event[0] for event in fake.events] == ["value", "hole", "hole"]


def test_header_and_model_come_after_the_prelude(run: Any) -> None:
    fake = run('import math\nsize = 3\nsample(n=size, temperature=math.sqrt(4))\n    "[X]"\nfrom\n    "local:" + name\n', ["a"], name="m")
    assert fake.events[:2] == [("configure", "sample", {"n": 3, "temperature": 2.0}), ("model", "local:m")]


@pytest.mark.parametrize(
    "text",
    ['"is it [X]" distribution X in ["a", "b"]', 'argmax\n    "is it [X]"\ndistribution\n    X in ["a", "b"]\n'],
)
def test_distribution(run: Any, text: str) -> None:
    fake = run(text)
    assert fake.events[-1] == ("distribution", "X", ["a", "b"])
    assert fake.namespace["X"] == "a"


def test_errors_show_the_line_of_the_program(run: Any) -> None:
    text = 'a = 1\n"so\\\nmany {1 / (a - 1)} [X]"\n'
    with pytest.raises(ZeroDivisionError) as raised:
        run(text)
    frames = traceback.extract_tb(raised.value.__traceback__)
    last = next(frame for frame in frames if frame.filename == "test.lmql")
    assert (last.name, last.lineno, last.line) == ("<module>", 3, 'many {1 / (a - 1)} [X]"')


def test_a_failing_hole_shows_the_line_of_the_hole(run: Any) -> None:
    text = '"""first\n{x}\n[X: 1 / 0]\n"""'
    with pytest.raises(ZeroDivisionError) as raised:
        run(text, x=1)
    assert [frame.lineno for frame in traceback.extract_tb(raised.value.__traceback__) if frame.filename == "test.lmql"] == [3]


def test_prompts_in_every_kind_of_block(run: Any) -> None:
    text = """
class Quiet:
    def __enter__(self): return self
    def __exit__(self, *e): return True
for i in range(2):
    if i: "i"
    else: "e"
else:
    "l"
while True:
    "w"
    break
with Quiet():
    "b"
    raise ValueError
try:
    "t"
    raise KeyError
except KeyError:
    "x"
finally:
    "f"
match [1, 2]:
    case [a, *rest]: "m{a}{rest}"
if True: "1"; "2"
"""
    assert run(text).prompt == "eilwbtxfm1[2]12"

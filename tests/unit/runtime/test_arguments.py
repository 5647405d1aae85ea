"""Arguments of programs."""

from __future__ import annotations

import ast

import pytest

from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.runtime.arguments import bind_arguments

PROGRAM = Program(Source("q", ""), ast.Module([], []), (), (), "argmax", ("question", "count"), ("extra",))


def test_by_position_and_name() -> None:
    assert bind_arguments(PROGRAM, ("Why?",), {"count": 2}) == ({"question": "Why?", "count": 2}, {})
    assert bind_arguments(PROGRAM, (), {"question": 1, "count": 2, "extra": 3})[0]["extra"] == 3
    assert bind_arguments(PROGRAM, (1,), {"model": "demo"}, known={"question"}, options=["model"]) == ({"count": 1}, {"model": "demo"})


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {"question": 1}, "needs a value for `count`"),
        ((), {"question": 1, "cuont": 1}, "needs a value for `count`; did you mean it by `cuont`"),
        ((1, 2, 3), {}, "takes 2 positional arguments, not 3"),
        ((1,), {"question": 1, "count": 1}, "`question` is given twice"),
        ((1, 2), {"modl": 1}, "no argument `modl`; did you mean `model`"),
        ((1, 2), {"zzz": 1}, "its arguments are: question, count, extra"),
    ],
)
def test_wrong_arguments(args: tuple[int, ...], kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(LmqlError, match=message):
        bind_arguments(PROGRAM, args, kwargs, options=["model"])

"""Module semantics hold in the coroutine: names, annotations, imports, `return`, namespaces."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from lmqlc.compiler.driver import compile_source
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.grammar.source import Source


def test_names_are_globals_of_the_program(run: Any) -> None:
    text = """
x = 1
def f():
    global x, z
    x += 1; z = 5
f()
class C:
    y = x
    def g(self): return x
return [x, z, C.y, C().g(), C.__qualname__, f.__qualname__]
"""
    assert run(text).returned == [[2, 5, 2, 2, "C", "f"]]


def test_return_ends_the_program(run: Any) -> None:
    fake = run("try:\n    return 1\nexcept:\n    done = 0\nfinally:\n    done = 2\nnever = 1")
    assert (fake.returned, fake.namespace["done"], "never" in fake.namespace) == ([1], 2, False)


def test_return_without_a_value_is_no_result(run: Any) -> None:
    assert run("if 1:\n    return\n").returned == []
    assert run("return None").returned == [None]


def test_return_inside_loops_and_with(run: Any) -> None:
    assert run(
        "import contextlib\nfor i in range(5):\n    with contextlib.suppress(ValueError):\n        if i == 3: return i\n"
    ).returned == [3]


def test_annotations_are_kept(run: Any) -> None:
    fake = run("x: int = 1\ny: str\nif x: (z): float = 2.0\nclass C: pass\nC.w: list = []\n")
    if sys.version_info < (3, 14):
        assert fake.namespace["__annotations__"] == {"x": int, "y": str}
    assert (fake.namespace["x"], fake.namespace["z"], "y" in fake.namespace) == (1, 2.0, False)


def test_future_annotations(run: Any) -> None:
    fake = run("from __future__ import annotations\nx: Undefined[int] = 1\ndef f(a: Nowhere) -> Nothing: pass\n")
    assert fake.namespace["__annotations__"] == {"x": "Undefined[int]"}
    assert fake.namespace["f"].__annotations__ == {"a": "Nowhere", "return": "Nothing"}
    assert fake.program.parameters == ()


def test_import_star(run: Any) -> None:
    fake = run("from math import *\nif 1:\n    from os.path import *\nreturn [floor(pi), basename('a/b')]")
    assert fake.returned == [[3, "b"]]
    assert fake.program.parameters == ()


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("x = 1\nreturn locals()['x']", 1),
        ("x = 1\nreturn vars()['x']", 1),
        ("x = 1\nreturn 'x' in dir()", True),
        ("exec('y = 2')\nreturn y", 2),
        ("x = 3\nreturn eval('x + 1')", 4),
        ("x = 3\nreturn eval('x', {'x': 5})", 5),
        ("x = 3\ndef f(q):\n    x = 4\n    return sorted(locals())\nreturn f(1)", ["q", "x"]),
        ("x = 5\nreturn '{x}'.format(**globals())", "5"),
        ("return [x for x in range(3)]", [0, 1, 2]),
        ("x = 'kept'\n[x for x in range(3)]\nreturn x", "kept"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError as e: pass\ntry:\n    return e\nexcept NameError: return 'gone'", "gone"),
        ("x = 1\ndel x\ntry:\n    return x\nexcept NameError: return 'gone'", "gone"),
        ("import os.path as p, os.path\nreturn [p.sep, os.path.sep]", ["/", "/"]),
        ("class C:\n    x = 1\n    y = [x for _ in range(2)]\n", None),
        ("def f():\n    def g(): return h()\n    def h(): return 1\n    return g()\nreturn f()", 1),
        ("x = 1\nclass C:\n    x = x + 1\nreturn [x, C.x]", [1, 2]),
        ("match {'a': 1, 'b': 2}:\n    case {'a': x, **rest}: return [x, rest]", [1, {"b": 2}]),
        ("match [1, 2, 3]:\n    case [x, *y] as z: return [x, y, z]", [1, [2, 3], [1, 2, 3]]),
        ("x, *y = 1, 2, 3\nreturn [x, y]", [1, [2, 3]]),
        ("def f(a, /, b=1, *c, d, e=2, **g): return [a, b, c, d, e, g]\nreturn f(0, d=3, h=4)", [0, 1, (), 3, 2, {"h": 4}]),
        ("x = y = 2\nx **= y\nreturn x", 4),
        ("assert __name__ != '__lmql_main__'\nreturn __name__", "lmql_test_program"),
    ],
)
def test_python_means_what_it_means(run: Any, code: str, value: Any) -> None:
    if value is None:
        with pytest.raises(NameError):
            run(code)
    else:
        assert run(code).returned == [value]


def test_exceptions_reach_the_caller_unchanged(run: Any) -> None:
    with pytest.raises(KeyError) as raised:
        run("error = KeyError('mine')\nraise error")
    assert raised.value.args == ("mine",)


@pytest.mark.parametrize(
    ("text", "parameters", "optional"),
    [
        ('"{b}[X]{a}"', ("b", "a"), ()),
        ('"[X]" where X in options and len(X) < limit', ("options", "limit"), ()),
        ('"[@deco X: kind]"', ("deco", "kind"), ()),
        ("@deco\ndef f(x=default): return free", ("deco", "default", "free"), ()),
        ("print(len(x for x in xs))", ("xs",), ()),
        ("def f():\n    def g(): return a, b\n    a = 1\n    return g", ("b",), ()),
        ("def f():\n    global made\n    made = 1\nprint(made)", (), ()),
        ("class C:\n    x = x\n    y = x", ("x",), ()),
        ("class C:\n    x = 1\n    def f(self): return x", ("x",), ()),
        ("f = lambda a, *b, c=d, **e: (a, b, c, e, g)", ("d", "g"), ()),
        ("x: int\nprint(x)", ("x",), ()),
        ("def f():\n    x: Never = 1\n    return x", (), ()),
        ("[y := x for x in xs]\nprint(y)", ("xs",), ()),
        ("from math import *\nprint(pi, tau)", (), ("pi", "tau")),
        ("exec('a = 1')\nprint(a)", (), ("a",)),
        ("try:\n    unicode\nexcept NameError:\n    pass\nprint(other)", ("other",), ("unicode",)),
        ("lmql.model('x')\nprint(__file__, __name__)", (), ()),
        ("match v:\n    case {'k': a, **b} | [a, *b]: print(a, b, c)", ("v", "c"), ()),
        ("x += 1", (), ()),
        ("del x", (), ()),
        ("for k in ks: pass\nprint(k)", ("ks",), ()),
        ("with open(p) as f: print(f)", ("p",), ()),
        ("import a.b, c as d\nprint(a, d, c)", ("c",), ()),
        ("class C:\n    def f(self): return __class__, self.__x, __y", ("_C__y",), ()),
        ('argmax(max_len=n)\n    "[X]"\nfrom m\nwhere X in o\n', ("n", "m", "o"), ()),
        ('"[X]" distribution X in options', ("options",), ()),
        ("type_ = [t for t in types if (u := t)]\nprint(u)", ("types",), ()),
    ],
)
def test_free_names_are_parameters(text: str, parameters: tuple[str, ...], optional: tuple[str, ...]) -> None:
    program = compile_source(Source("q", text))
    assert (program.parameters, program.optional) == (parameters, optional)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x = 1\ndef f():\n    nonlocal x", "no binding for nonlocal 'x' found", 3),
        ("break", "'break' outside loop", 1),
        ("def f(a, a): pass", "duplicate argument 'a' in function definition", 1),
        ("\nlambda: (yield)\ndef f(): [(yield) for i in 'a']", "'yield' inside list comprehension", 3),
        ("def f(): await g()", "'await' outside async function", 1),
        ("x = 1\nglobal x", "name 'x' is assigned to before global declaration", 2),
        ("from __future__ import nonsense", "future feature nonsense is not defined", 1),
        ("x = 1\nfrom __future__ import annotations", "from __future__ imports must occur at the beginning of the file", 2),
        ("def f():\n    from math import *", "import * only allowed at module level", 2),
        ("class C:\n    return 1", "'return' outside function", 2),
        ("for x in y:\n    def f(): continue", "'continue' not properly in loop", 2),
    ],
)
def test_what_pythons_compiler_refuses_is_a_diagnostic(text: str, message: str, line: int) -> None:
    source = Source("q", text)
    with pytest.raises(LmqlCompileError) as raised:
        compile_source(source)
    found = raised.value.diagnostics[0]
    assert found.span is not None
    assert (found.code, found.message, source.position(found.span.start)[0]) == ("L0701", message, line)

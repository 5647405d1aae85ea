"""Programs that are plain Python: the coroutine does what the module does.

`LMQLC_LONG=1` tries many more generated programs and more of the standard library.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
import tokenize
import types
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from lmqlc.compiler.code import entry_for, import_star, recording_code_for
from lmqlc.compiler.driver import compile_query
from lmqlc.compiler.ir_check import ir_check
from lmqlc.grammar.parse import parse
from lmqlc.runtime.effects import Effects
from lmqlc.runtime.outside import Boundary
from lmqlc.runtime.recorded import RecordedCalls

LONG = bool(os.environ.get("LMQLC_LONG"))


class Host:
    """The host calls that a program without query strings makes."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace

    async def call(self, value: Any) -> Any:
        return await value if inspect.iscoroutine(value) else value

    def import_star(self, module: str | None, level: int) -> None:
        import_star(self.namespace, module, level)


class RecordingHost(RecordedCalls, Host):
    """The same for the form of a program whose branches can be copied; `effects` is the record."""

    def __init__(self, namespace: dict[str, Any], effects: Effects) -> None:
        super().__init__(namespace)
        self.effects = effects
        effects.boundary.own(namespace)


ADDRESS = re.compile("0x[0-9a-f]+", re.IGNORECASE)
UNCOMPARED = ("__builtins__", "__doc__", "__warningregistry__", "annotations")


def fresh(name: str, package: str | None) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update({"__builtins__": __builtins__, "__package__": package, "__file__": "test.py"})
    return module


def outcome(namespace: dict[str, Any], error: BaseException | None) -> Any:
    """What can be compared of a run: its error, and its variables."""
    shown = {name: show(value) for name, value in namespace.items() if name not in UNCOMPARED}
    return (type(error).__name__, show(str(error))) if error is not None else None, shown


def show(value: Any, depth: int = 3) -> Any:
    """A value without addresses."""
    if isinstance(value, str):
        return ADDRESS.sub("0x", value)
    if isinstance(value, bool | int | float | bytes | None):
        return value if value == value else "nan"
    if depth and isinstance(value, list | tuple | frozenset | set):
        items = [show(item, depth - 1) for item in value]
        return type(value).__name__, sorted(items, key=repr) if isinstance(value, frozenset | set) else items
    if depth and isinstance(value, dict):
        return "dict", [(show(key, depth - 1), show(item, depth - 1)) for key, item in value.items()]
    if isinstance(value, type):
        return "class", value.__module__, value.__qualname__, sorted(value.__dict__.keys() - {"__slotnames__"})
    if isinstance(value, types.FunctionType):
        return (
            "function",
            value.__module__,
            value.__qualname__,
            show(value.__defaults__),
            value.__doc__,
        )
    return type(value).__name__


def as_module(text: str, name: str, package: str | None) -> Any:
    module = fresh(name, package)
    sys.modules[name] = module
    try:
        exec(compile(text, "test.py", "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        return outcome(module.__dict__, error)
    finally:
        del sys.modules[name]
    return outcome(module.__dict__, None)


def as_program(text: str, name: str, package: str | None) -> Any:
    program = compile_query(parse(text, "test.py", prompts=False))
    ir_check(program)
    module = fresh(name, package)
    sys.modules[name] = module
    try:
        asyncio.run(entry_for(program, module.__dict__)(Host(module.__dict__)))
    except Exception as error:
        return outcome(module.__dict__, error)
    finally:
        del sys.modules[name]
    return outcome(module.__dict__, None)


def as_copy(text: str, name: str, package: str | None) -> Any:
    """What a copy of the program's branch comes to, after a first one has run."""
    program = compile_query(parse(text, "test.py", prompts=False))
    code, effects = recording_code_for(program), Effects(Boundary())
    outcomes: list[Any] = []
    for _ in range(2):
        record = effects.copy() if outcomes else effects
        module = fresh(name, package)
        sys.modules[name] = module
        error: Exception | None = None
        try:
            asyncio.run(entry_for(program, module.__dict__, code)(RecordingHost(module.__dict__, record)))
        except Exception as caught:
            error = caught
        finally:
            del sys.modules[name]
        outcomes.append(outcome(module.__dict__, error))
        assert not record.telling
    assert outcomes[0] == outcomes[1]
    return outcomes[1]


# -- generated programs -------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d"])
ATOMS = st.one_of(NAMES, st.integers(0, 5).map(str), st.sampled_from(["'x'", "[1, 2]", "None", "(3, 4)", "{'k': 1}", "[]"]))


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "and", "or", "==", "<", "in", "is"]), inner).map(" ".join).map("({})".format),
        two.map(lambda t: f"({t[0]} if {t[1]} else 0)"),
        two.map(lambda t: f"[{t[0]}, *[{t[1]}]]"),
        st.tuples(NAMES, inner, inner).map(lambda t: f"[{t[1]} for {t[0]} in [{t[2]}, 1] if {t[0]}]"),
        st.tuples(NAMES, inner, inner).map(lambda t: f"list({t[1]} for {t[0]} in [{t[2]}])"),
        st.tuples(NAMES, inner).map(lambda t: f"{{{t[0]!r}: ({t[0]} := {t[1]})}}"),
        st.tuples(NAMES, inner, inner).map(lambda t: f"(lambda {t[0]}={t[1]}: {t[2]})()"),
        st.tuples(NAMES, inner).map(lambda t: f"f({t[1]}, {t[0]}={t[1]})"),
        inner.map(lambda e: f"len(str({e}))"),
        inner.map(lambda e: f"f'{{{e}!r:>4}}'"),
        inner.map(lambda e: f"log.append({e})"),
        inner.map(lambda e: f"sorted(locals()).count({e})" if e.isidentifier() else f"str({e}).upper()"),
    )


EXPRESSIONS = st.recursive(ATOMS, _grown, max_leaves=5)


def indented(body: str) -> str:
    return "\n".join("    " + line for line in body.split("\n"))


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    e = EXPRESSIONS
    block = st.lists(inner, min_size=1, max_size=3).map("\n".join).map(indented)
    return st.one_of(
        st.tuples(e, block, block).map(lambda t: f"if {t[0]}:\n{t[1]}\nelse:\n{t[2]}"),
        st.tuples(NAMES, e, block).map(lambda t: f"for {t[0]} in [{t[1]}, 2]:\n{t[2]}"),
        st.tuples(NAMES, block, e).map(lambda t: f"def {t[0]}(x={t[2]}):\n{t[1]}\n    return x"),
        st.tuples(NAMES, NAMES, block).map(lambda t: f"def {t[0]}(*x, **y):\n    global {t[1]}\n{t[2]}"),
        st.tuples(NAMES, block).map(lambda t: f"class {t[0]}:\n{t[1]}\n    def m(self): return a"),
        st.tuples(NAMES, block, block).map(lambda t: f"try:\n{t[1]}\nexcept Exception as {t[0]}:\n{t[2]}\nfinally:\n    log.append(1)"),
        st.tuples(e, NAMES, block).map(lambda t: f"match {t[0]}:\n    case [{t[1]}, *_] | {t[1]}:\n{indented(t[2])}"),
        st.tuples(NAMES, block).map(lambda t: f"with contextlib.nullcontext(3) as {t[0]}:\n{t[1]}"),
        block.map(lambda b: f"while len(log) < 3:\n    log.append(0)\n{b}"),
    )


SIMPLE = st.one_of(
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]} = {t[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]} += {t[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]}: {t[1]} = {t[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]}, *b = [{t[1]}, 1]"),
    EXPRESSIONS.map(lambda e: f"log.append({e})"),
    NAMES.map(lambda n: f"del {n}"),
    st.sampled_from(["import math as a", "from os.path import *", "exec('c = 7')", "pass", "assert a, b", "raise ValueError(a)"]),
)
STATEMENTS = st.recursive(SIMPLE, _compound, max_leaves=6)
PRELUDE = "import contextlib\nlog = []\na, b, c = 1, [2], 'z'\ndef f(x, **k): return [x, k]\n"


def is_python(text: str) -> bool:
    try:
        compile(text, "t", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=6000 if LONG else 250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STATEMENTS, min_size=1, max_size=6).map("\n".join))
def test_generated_programs(body: str) -> None:
    text = PRELUDE + body
    if is_python(text):
        expected = as_module(text, "lmql_generated", None)
        assert as_program(text, "lmql_generated", None) == expected
        assert as_copy(text, "lmql_generated", None) == expected


# -- the standard library ------------------------------------------------------------------------------------------

SHORT_MODULES = [
    "abc", "argparse", "ast", "base64", "bisect", "calendar", "cmd", "codeop", "colorsys", "configparser", "contextlib", "copy", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "dis", "email.message", "enum", "fnmatch", "fractions", "functools", "getopt",
    "glob", "graphlib", "hashlib", "heapq", "html.parser", "http.cookies", "inspect", "ipaddress", "json.decoder", "keyword", "linecache",
    "locale", "mimetypes", "numbers", "opcode", "operator", "optparse", "pathlib", "pickle", "platform", "plistlib", "pprint", "queue",
    "random", "reprlib", "sched", "shlex", "shutil", "statistics", "string", "stringprep", "tempfile", "textwrap", "threading", "timeit",
    "token", "tokenize", "traceback", "typing", "unittest.case", "unittest.mock", "urllib.parse", "uuid", "warnings", "weakref",
    "xml.dom.minidom", "zipfile",
]  # fmt: skip
UNLIKE = {"_collections_abc", "types", "logging"}
"""The first two call coroutine functions and keep the coroutines, which a program awaits; the last keeps the time."""
CHANGES_ITS_OWN = {"xml.dom.minidom"}
"""It lets a function of another module change its classes, which a copy is not told."""
SKIPPED = {
    "antigravity",
    "this",
    "idlelib",
    "lib2to3",
    "test",
    "tests",
    "turtledemo",
    "site-packages",
    "__main__",
    "distutils",
    "ensurepip",
}


def modules() -> list[str]:
    if not LONG:
        return SHORT_MODULES
    root = Path(os.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in UNLIKE and not SKIPPED & set(parts) and not parts[0].startswith(("config-", "pydoc_data", "lib-dynload")):
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", modules())
def test_modules_of_the_standard_library(name: str) -> None:
    path = Path(os.__file__).parent.joinpath(*name.split("."))
    is_package = path.is_dir()
    with tokenize.open(path / "__init__.py" if is_package else path.with_suffix(".py")) as file:
        text = file.read()
    package = name if is_package else name.rpartition(".")[0]
    alias = f"{package}.lmql_copy" if package else "lmql_copy"
    expected = as_module(text, alias, package)
    assert as_program(text, alias, package) == expected
    if name not in CHANGES_ITS_OWN:
        assert as_copy(text, alias, package) == expected

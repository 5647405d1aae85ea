"""Python functions as a model sees them: names, typed parameters, a line of description; and what calling one gives, as text."""

from __future__ import annotations

import ast
import inspect
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.outside import OUTSIDE
from lmqlc.runtime.plain import plain

Function = Callable[..., Any]
LONGEST = 2000
"""Characters of a result that a model gets to see."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function. type: of its hole; `str` where the function says nothing."""

    name: str
    type: Any
    required: bool


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    function: Function
    required: tuple[Parameter, ...]
    optional: tuple[Parameter, ...]
    shown: str

    @property
    def description(self) -> str:
        """Its call, and the first line of its documentation."""
        first = (inspect.getdoc(self.function) or "").partition("\n")[0].strip()
        return f"{self.shown}: {first}" if first else self.shown


@dataclass(frozen=True)
class Call:
    """A call that a model has written. `str` gives its text."""

    tool: Tool
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        known = {parameter.name: parameter for parameter in (*self.tool.required, *self.tool.optional)}
        parts = [
            f"{'' if known[name].required else f'{name}='}{_written(value, known[name].type)}" for name, value in self.arguments.items()
        ]
        return f"{self.tool.name}({', '.join(parts)})"


def tools_of(functions: Function | Iterable[Function] | Mapping[str, Function]) -> dict[str, Tool]:
    """Tools by name. Raises LmqlError for what is no function, has no name, or takes any number of arguments."""
    if isinstance(functions, Mapping):
        named = list(functions.items())
    else:
        named = [(str(getattr(one, "__name__", "")), one) for one in ([functions] if callable(functions) else functions)]
    if not named:
        raise LmqlError("give at least one function that the model may call")
    tools = [_tool(name, function) for name, function in named]
    if len({tool.name for tool in tools}) < len(tools):
        raise LmqlError("two functions have the same name; give them as a dictionary, by names of their own")
    return {tool.name: tool for tool in tools}


def _tool(name: str, function: Function) -> Tool:
    if not callable(function):
        raise LmqlError(f"{function!r} is no function")
    if not name.isidentifier():
        raise LmqlError(f"a function needs a name to be called by, which {function!r} has not; give it in a dictionary, {{name: function}}")
    signature = _signature(function)
    parameters = [_parameter(name, parameter) for parameter in signature.parameters.values()]
    required = tuple(parameter for parameter in parameters if parameter.required)
    return Tool(name, function, required, tuple(p for p in parameters if not p.required), f"{name}{_shown(signature)}")


def _signature(function: Function) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError, SyntaxError):
        return inspect.signature(function)  # annotations that cannot be evaluated are text
    except ValueError:
        raise LmqlError(f"the arguments of {function!r} cannot be known; wrap it in a function of your own") from None


def _parameter(name: str, parameter: inspect.Parameter) -> Parameter:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise LmqlError(f"`{name}` takes any number of arguments (`{parameter}`); wrap it in a function with fixed ones")
    annotation = parameter.annotation
    known = str if annotation is parameter.empty or annotation is Any or isinstance(annotation, str) else annotation
    return Parameter(parameter.name, known, parameter.default is parameter.empty)


def _shown(signature: inspect.Signature) -> str:
    """A signature for a model: without the marks for positional and keyword arguments."""
    parts = [str(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)) for parameter in signature.parameters.values()]
    returns = signature.return_annotation
    gives = "" if returns is signature.empty or returns is None else f" -> {inspect.formatannotation(returns)}"
    return f"({', '.join(parts)}){gives}"


def _written(value: Any, kind: Any) -> str:
    """An argument as a model writes it: strings quoted, texts of other types as they are, the rest as JSON."""
    shown = plain(value)
    return shown if isinstance(shown, str) and kind is not str else json.dumps(shown, ensure_ascii=False)


async def use(call: Call, longest: int = LONGEST) -> str:
    """Make a call. Its result as one line of text, cut where it is longer than `longest`; an exception is a result too: its name and
    message."""
    arguments = dict(call.arguments)
    positional = [arguments.pop(parameter.name) for parameter in call.tool.required if _is_positional(call.tool, parameter)]
    try:
        value = call.tool.function(*positional, **arguments)
        if inspect.isawaitable(value):
            value = await value
        text = " ".join(str(value).split("\n"))
    except Exception as error:  # noqa: BLE001 - the model is told, and may do better
        text = f"error: {type(error).__name__}: {' '.join(str(error).splitlines())}".rstrip(": ")
    return text if len(text) <= longest else f"{text[:longest]}…"


setattr(use, OUTSIDE, True)  # a copied branch of a program is told what its calls gave


def _is_positional(tool: Tool, parameter: Parameter) -> bool:
    return inspect.signature(tool.function).parameters[parameter.name].kind is not inspect.Parameter.KEYWORD_ONLY


def value_of(text: str) -> str:
    """The string that a JSON string's text between its quotes stands for."""
    return str(json.loads(f'"{text}"', strict=False))


_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_LARGEST = 10**30


def calc(term: str) -> int | float:
    """The value of an arithmetic expression, such as 3 * (4 + 5.5) ** 2."""
    try:
        tree = ast.parse(term.strip().replace("^", "**").replace("×", "*").replace("÷", "/"), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{term!r} is no arithmetic expression") from None
    value = _value(tree.body)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _value(node: ast.AST) -> int | float:
    value: int | float
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        value = node.value
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        value = _power(_value(node.left), _value(node.right))
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        value = _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
        value = _OPERATIONS[type(node.op)](_value(node.operand))
    else:
        raise ValueError("only numbers, + - * / // % ** and brackets can be calculated")
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise OverflowError("the result is too large")
    return value


def _power(base: int | float, exponent: int | float) -> int | float:
    if abs(exponent) > 100 or (base < 0 and not float(exponent).is_integer()):
        raise OverflowError("this power cannot be calculated")
    return base**exponent


def lookup(table: Mapping[str, Any], name: str = "lookup", description: str = "What is known of a key.") -> Function:
    """A function that looks keys up in a dictionary; case and white space around a key make no difference."""
    known = {str(key).strip().casefold(): value for key, value in table.items()}

    def look(key: str) -> Any:
        try:
            return known[key.strip().casefold()]
        except KeyError:
            raise KeyError(f"nothing is known of {key!r}") from None

    look.__name__, look.__doc__ = name, description
    return look

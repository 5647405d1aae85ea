"""Python functions as atoms: `f(text, final, *args)` says False (dead), None (not yet known) or True.

`final` is True for a whole text that may be the hole's value: only True lets it be. Otherwise the text may go on, and only False
matters: no continuation will do. True for a text that may go on promises nothing; None leaves it to the text that follows the hole, which
ends a text that is valid where it agrees. Text that ends inside a character is shown without the begun character.

The class protocol of the existing language (`forward`, `follow`, `final`) is adapted by `function_of`. A class, or an object of one, is
judged by what it says of whole texts: the value of `forward(text, *args, final=…)`; a false value of a text that may go on is dead only
where `final(…)` says that it will not change. `follow` would say the same one token ahead, and is not asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.problems import error
from lmqlc.compiler.masks.atoms import whole_characters
from lmqlc.compiler.masks.interface import Bits
from lmqlc.grammar.source import Span

BAD_FUNCTION = "L0411"
MARK = "__lmql_constraint__"
"""The attribute that `@lmql.constraint` leaves on a function."""
KEPT = 1 << 12
"""Answers remembered per atom, least recently asked out first."""

_SHOWN = 200


class CustomAtom:
    """One call of a constraint function in a `where`. args: the operands after the text. Raises LmqlCompileError for what is none."""

    def __init__(self, function: object, args: Sequence[object] = (), span: Span | None = None) -> None:
        self._call = function_of(function, span)
        self._args = tuple(args)
        self._name = getattr(function, "__name__", None) or type(function).__name__
        self._span = span
        self._ask = lru_cache(maxsize=KEPT)(self._answer)

    def begin(self) -> None:
        """Nothing: a function's own exceptions reach the user as they are."""

    def alive(self, text: bytes) -> bool:
        characters = whole_characters(text)
        return characters is not None and self._ask(characters, False) is not False

    def undecided(self, text: bytes) -> bool:
        """The function cannot say yet whether the text, which may go on, will do."""
        characters = whole_characters(text)
        return characters is not None and self._ask(characters, False) is None

    def holds(self, text: bytes) -> bool:
        try:
            characters = text.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return self._ask(characters, True) is True

    def mask(self, text: bytes) -> Bits:
        raise NotImplementedError("a Python function is asked about tokens one by one: `alive_after`")

    def alive_after(self, text: bytes, tokens: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """bool[n]: the text is alive after each of n tokens. One call of the function for each, none remembered."""
        return np.fromiter((self._goes_on(text + token) for token in tokens), np.bool_, len(tokens))

    def _goes_on(self, text: bytes) -> bool:
        try:
            characters: str | None = text.decode("utf-8")
        except UnicodeDecodeError:
            characters = whole_characters(text)
        return characters is not None and self._answer(characters, False) is not False

    def closed(self, text: bytes) -> bool:
        return False

    def forced(self, text: bytes) -> bytes:
        return b""

    def _answer(self, text: str, final: bool) -> bool | None:
        """What the function says. Its own exceptions reach the user as they are, with a note that says where they come from."""
        try:
            answer = self._call(text, final, *self._args)
        except Exception as problem:
            problem.add_note(f"raised by the constraint `{self._name}` for the {_described(text, final)}")
            raise
        if answer is None or isinstance(answer, bool):
            return answer
        if type(answer).__name__ in ("bool_", "bool") and hasattr(answer, "item"):  # NumPy's own truth values
            return bool(answer)
        message = f"the constraint `{self._name}` must say True, False or None, not {answer!r:.80}, for the {_described(text, final)}"
        raise error(BAD_FUNCTION, message, self._span)


def _described(text: str, final: bool) -> str:
    shown = text if len(text) <= _SHOWN else "…" + text[-_SHOWN:]
    return f"{'final' if final else 'unfinished'} text {shown!r}"


Judge = Callable[..., bool | None]


def function_of(value: object, span: Span | None = None) -> Judge:
    """`f(text, final, *args)` of a constraint: a function as it is; a class of the protocol, or an object of one, adapted."""
    target = _instance(value, span) if isinstance(value, type) else value
    if callable(getattr(target, "forward", None)):
        return _adapted(target)
    wrong = _wrong_with(target)
    if wrong is None:
        return cast(Judge, target)
    message = f"a constraint is a marked function of text and final; {getattr(value, '__name__', repr(value))!s:.80} {wrong}"
    hint = "write `@lmql.constraint` above `def name(text, final): …`, which says False, None or True"
    raise error(BAD_FUNCTION, message, span, hint)


def _wrong_with(target: object) -> str | None:
    """Why a value cannot be asked; None where it can."""
    if not callable(target):
        return f"is no function but {type(target).__name__}"
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None)):  # noqa: B004
        return "is asynchronous"
    return None if getattr(target, MARK, False) else "is a plain function"


def _instance(value: type, span: Span | None) -> Any:
    """An object of a class of the protocol; some classes take the operands when they are made, and are made with none."""
    takes_operands = any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in _parameters(value))
    try:
        return value([]) if takes_operands else value()
    except TypeError as problem:
        message = f"the constraint class `{value.__name__}` cannot be made without arguments: {problem}"
        raise error(BAD_FUNCTION, message, span) from problem


def _adapted(target: Any) -> Judge:
    forward, settles = target.forward, getattr(target, "final", None)
    forward_takes_final = _takes(forward, "final")

    def judge(text: str, final: bool, *args: object) -> bool | None:
        extra = {"final": final} if forward_takes_final else {}
        value = forward(text, *args, **extra)
        if final:
            return None if value is None else bool(value)
        if value is None or value or not callable(settles):
            return None
        operands = (text, *args)
        known = {"operands": operands, "result": value}
        said = settles(*("inc", *("fin" for _ in args))[: _positional(settles, len(operands))], **_accepted(settles, known))
        # A false truth value that only shrinks stays false.
        return False if said in ("fin", "dec") else None

    judge.__name__ = type(target).__name__
    return judge


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _takes(function: Callable[..., Any], name: str) -> bool:
    return any(p.kind is p.VAR_KEYWORD or p.name == name for p in _parameters(function))


def _accepted(function: Callable[..., Any], values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if _takes(function, name)}


def _positional(function: Callable[..., Any], most: int) -> int:
    """How many of the operands `final` takes by position; `operands` and `result` are given by name."""
    kinds = [p for p in _parameters(function) if p.name not in ("operands", "result")]
    if any(p.kind is p.VAR_POSITIONAL for p in kinds):
        return most
    return min(most, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in kinds))

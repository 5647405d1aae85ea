"""Python's own parser as the judge of Python: never another exception than `Fault`, never a warning on stderr."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from typing import Literal

from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.source import Span

_INDENTATION = re.compile(r"\bindent|unindent")
_TABS = "inconsistent use of tabs and spaces in indentation"
_HINTS: tuple[tuple[str, str], ...] = (
    (r"was never closed", "add the closing bracket"),
    (r"unmatched '", "remove it, or add the opening bracket before it"),
    (r"closing parenthesis .* does not match", "close the brackets in the order in which they were opened"),
    (r"unterminated triple-quoted", "close the string with the three quotes that opened it"),
    (r"unterminated (?:f-)?string|EOL while scanning", "close the string on its line, or use three quotes for text over several lines"),
    (r"expected an indented block", "indent the lines below it, or write `pass`"),
    (r"unexpected indent", "start the line in the column of the line above; a query's body is indented only below its decoder"),
    (r"unindent does not match", "start the line in the column of an enclosing block"),
    (r"inconsistent use of tabs", "indent with spaces only"),
    (r"expected ':'", "end the line with a colon"),
    (r"Maybe you meant '=='", "compare with `==`"),
    (r"cannot assign to", "only names, attributes, items and tuples of them can be assigned to"),
    (r"surrogate", "write it as an escape, such as `\\\\ud800`, or delete it"),
    (r"invalid character", "replace it by its plain ASCII counterpart"),
    (r"invalid non-printable character", "delete the character"),
    (r"unexpected character after line continuation", "a backslash outside a string must be the last character of its line"),
    (r"Missing parentheses in call", "call it as a function"),
    (r"too deeply|too many", "split it into several statements"),
    (r"f-string", "see Python's rules for f-strings; a query string needs no `f`"),
    (r"forgot a comma", "add the comma, or an operator"),
    (r"", "check the spelling and what stands right before this place"),
)


class Fault(Exception):
    """Python's parser refuses a text. Places are as in `SyntaxError`: line and column from 1, columns in characters; 0 is unknown."""

    def __init__(self, message: str, start: tuple[int, int] = (0, 0), end: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end


def parse(text: str, mode: Literal["exec", "eval"] = "exec") -> ast.Module | ast.Expression:
    """`ast.parse`; raises `Fault`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(text, "<program>", mode, ast.PyCF_ONLY_AST, dont_inherit=True)  # type: ignore[return-value]
    except SyntaxError as error:
        start = error.lineno or 0, error.offset or 0
        end = error.end_lineno or 0, error.end_offset or 0
        raise Fault(_plain(error.msg), start, end if end > start else start) from None
    except (RecursionError, MemoryError):
        raise Fault("nested too deeply for Python's parser") from None
    except (SystemError, OverflowError) as error:
        raise Fault(f"Python's parser fails on it: {error}") from None
    except UnicodeEncodeError as error:
        line, before = text.count("\n", 0, error.start) + 1, text.rfind("\n", 0, error.start)
        place = line, error.start - before
        raise Fault("half of a surrogate pair is no character", place, (line, place[1] + 1)) from None
    except ValueError as error:
        raise Fault(str(error)) from None


def _plain(message: str) -> str:
    """CPython's message, less the place in a file that it names itself."""
    return re.sub(r" \((?:detected at line \d+|<program>, line \d+)\)", "", message)


def code(message: str) -> str:
    """The diagnostic code of a message of Python's parser."""
    if message.startswith(_TABS):
        return "L0103"
    if _INDENTATION.search(message):
        return "L0102"
    if re.search(r"was never closed|unmatched '|does not match opening", message):
        return "L0104"
    if "unterminated" in message:
        return "L0105"
    return "L0107" if "too deeply" in message or "too many" in message else "L0101"


def hint(message: str) -> str:
    """What a person can do about a message of Python's parser."""
    return next(text for pattern, text in _HINTS if re.search(pattern, message))


def diagnostic(message: str, span: Span | None) -> Diagnostic:
    """A message of Python's parser as a finding."""
    return Diagnostic(code(message), "error", message, span, hint=hint(message))


def move(tree: ast.AST, start: Callable[[int, int], tuple[int, int]], end: Callable[[int, int], tuple[int, int]] | None = None) -> None:
    """Give every node of a tree the places that `start` and `end` make of its own."""
    end = end or start
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.keyword, ast.arg, ast.stmt)):
            node.lineno, node.col_offset = start(node.lineno, node.col_offset)
            if node.end_lineno is not None and node.end_col_offset is not None:
                node.end_lineno, node.end_col_offset = end(node.end_lineno, node.end_col_offset)

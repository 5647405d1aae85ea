"""LMQL's soft keywords: which word in which company is one.

A clause keyword stands where Python could never have a name: right after a complete operand, or at the start of a line before
something that cannot follow a name. Forms that are also valid Python (`where (x)`, `where [x]`) are left to `lexer.py`, which
knows whether a header came before.
"""

from __future__ import annotations

import builtins
import keyword
import re

from lmqlc.grammar.tokens import BYTES, FSTRING, GROUP, NAME, NUMBER, OP, STRING, Token, scan_group

DECODERS = ("argmax", "sample", "beam", "beam_sample", "var", "beam_var", "best_k")
CLAUSES = {"where": "WHERE", "from": "FROM", "distribution": "DISTRIBUTION"}
STRINGS = frozenset({STRING, FSTRING, BYTES})
HEADS = frozenset(["if", "elif", "else", "for", "while", "with", "try", "except", "finally", "def", "class", "async", "match", "case"])
_OPERAND_KEYWORDS = frozenset({"None", "True", "False"})
_NO_OPERAND = frozenset(keyword.kwlist) - _OPERAND_KEYWORDS
_STARTS_OPERAND = frozenset({"not", "lambda", "await", "None", "True", "False", "yield"})
_BUILTINS = frozenset(dir(builtins))
_KEYWORD_ARGUMENT = re.compile(r"\w+\s*=(?!=)")


def ends_operand(text: str, token: Token) -> bool:
    """Whether an expression can end with this token."""
    kind, start, end = token
    if kind == OP:
        return text[start:end] == "..."
    return not (kind == NAME and text[start:end] in _NO_OPERAND)


def clause_at(text: str, tokens: list[Token], at: int) -> str | None:
    """The clause keyword that stands at `tokens[at]` after a complete operand, or None."""
    kind, start, end = tokens[at]
    word = text[start:end] if kind == NAME else ""
    return word if word in CLAUSES and (at == 0 or ends_operand(text, tokens[at - 1])) else None


def clear_clause(text: str, tokens: list[Token]) -> bool:
    """Whether a line that starts with a clause keyword can be nothing else: no Python statement begins so."""
    word = text[tokens[0][1] : tokens[0][2]]
    if word == "from":
        return not any(kind == NAME and text[start:end] == "import" for kind, start, end in tokens)
    if len(tokens) < 2:
        return False
    kind, start, end = tokens[1]
    if kind == NAME:
        return _name_starts_clause(text, text[start:end], tokens)
    return kind in STRINGS or kind == NUMBER or text[start] in "{~"


def unfinished_import(text: str, tokens: list[Token]) -> bool:
    """Whether a `from` line is nothing but a module's name."""
    return all(kind == NAME or text[start:end].strip(".") == "" for kind, start, end in tokens)


def _name_starts_clause(text: str, word: str, tokens: list[Token]) -> bool:
    if word == "not":
        return not (len(tokens) > 2 and text[tokens[2][1] : tokens[2][2]] == "in")
    return word in _STARTS_OPERAND or word not in _NO_OPERAND


def open_clause(text: str, tokens: list[Token]) -> bool:
    """Whether a line that starts with `where` or `distribution` may be a clause, though it may be Python too."""
    if len(tokens) < 2:
        return True
    kind, start, _ = tokens[1]
    return kind == GROUP or (kind == OP and text[start] in "+-" and text[start + 1 : start + 2] != "=")


def incomplete(text: str, tokens: list[Token]) -> bool:
    """Whether clauses cannot end here: the last token is a clause keyword, an operator, or a keyword that needs more."""
    return not ends_operand(text, tokens[-1]) or clause_at(text, tokens, len(tokens) - 1) is not None


def keywords_only(text: str, group: Token | None) -> bool:
    """Whether the arguments of a header are all `name=value` (or none)."""
    if group is None:
        return True
    tokens = scan_group(text, group[1] + 1, group[2] - 1)
    fresh = True
    for kind, start, end in tokens:
        if fresh and not (kind == NAME and _KEYWORD_ARGUMENT.match(text, start)):
            return False
        fresh = kind == OP and text[start:end] == ","
    return True


def header_name(text: str, token: Token) -> str | None:
    """The word of a token that may name a decoder: no keyword of Python, no builtin function."""
    word = text[token[1] : token[2]]
    return word if token[0] == NAME and not keyword.iskeyword(word) and word not in _BUILTINS else None


def near_decoder(word: str) -> str | None:
    """The decoder that a misspelt word probably means."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word.lower(), DECODERS, 1, 0.7)), None)

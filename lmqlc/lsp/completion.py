"""Completion: what may be written at a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lsprotocol import types

from lmqlc.grammar.source import Source
from lmqlc.lsp import words
from lmqlc.lsp.context import Context, context_at
from lmqlc.lsp.scope import Binding, Kind, bindings_of

_KINDS: Mapping[Kind, types.CompletionItemKind] = {
    "hole": types.CompletionItemKind.Field,
    "variable": types.CompletionItemKind.Variable,
    "function": types.CompletionItemKind.Function,
    "class": types.CompletionItemKind.Class,
    "module": types.CompletionItemKind.Module,
    "parameter": types.CompletionItemKind.Variable,
}
_BUILTINS = ("len", "int", "float", "str", "type", "range", "print", "sorted", "enumerate")


def completions(source: Source, offset: int) -> list[types.CompletionItem]:
    """What may stand at an offset, the likeliest first; editors filter it by the word that is being written."""
    context = context_at(source.text, offset)
    if context.where in ("comment", "prompt", "hole"):
        return []
    names = [one for one in bindings_of(source, offset) if one.visible_at(offset)]
    found: dict[str, types.CompletionItem] = {}
    for item in _items(context, names):
        if item.label not in found:
            item.sort_text = f"{len(found):04}"
            found[item.label] = item
    return list(found.values())


def _items(context: Context, names: list[Binding]) -> Iterator[types.CompletionItem]:
    if context.where == "where":
        yield from _constraints(names)
    elif context.where == "method":
        yield from _members(context.owner, names)
    elif context.where == "arguments":
        yield from _arguments(context.owner)
    elif context.where == "model":
        yield from (_item(name, text, types.CompletionItemKind.Value) for name, text in words.MODELS.items())
    elif context.where == "role":
        yield from (_item(name, text, types.CompletionItemKind.Keyword) for name, text in words.ROLES.items())
    elif context.where == "type":
        yield from (_item(name, "", types.CompletionItemKind.TypeParameter) for name in words.TYPES)
        yield from _names(names, ("function", "class", "variable", "module"))
    elif context.where == "decorator":
        yield from _names(names, ("function", "class", "variable", "module"))
    else:
        yield from _python(context, names)


def _python(context: Context, names: list[Binding]) -> Iterator[types.CompletionItem]:
    if context.where == "header":
        yield from (_item(name, text, types.CompletionItemKind.Keyword) for name, text in words.DECODER_TEXTS.items())
    if context.where in ("header", "line"):
        yield from (_item(name, text, types.CompletionItemKind.Keyword) for name, text in words.CLAUSES.items())
    yield from _names(names, tuple(_KINDS))
    if context.where in ("python", "value"):
        yield from (_item(name, "", types.CompletionItemKind.Function) for name in _BUILTINS)
    yield _item("lmql", "The package.", types.CompletionItemKind.Module)


def _constraints(names: list[Binding]) -> Iterator[types.CompletionItem]:
    yield from _names(names, ("hole",))
    for name, text in words.CONSTRAINTS.items():
        item = _item(name, text, types.CompletionItemKind.Function)
        item.detail = words.usage(name)
        yield item
    yield from (_item(word, "", types.CompletionItemKind.Keyword) for word in ("and", "or", "not", "in"))
    yield from _names(names, ("variable", "parameter", "function", "class", "module"))
    yield from (_item(name, "", types.CompletionItemKind.Function) for name in _BUILTINS)


def _members(owner: str, names: list[Binding]) -> Iterator[types.CompletionItem]:
    """The methods of a hole's text, or the members of the package."""
    if owner in ("lmql", "lmqlc"):
        import lmqlc

        yield from (_item(name, "", types.CompletionItemKind.Function) for name in [*lmqlc.__all__, *words.CONSTRAINTS])
    elif any(one.name == owner and one.kind == "hole" for one in names):
        yield from (_item(name, text, types.CompletionItemKind.Method) for name, text in words.METHODS.items())


def _arguments(decoder: str) -> Iterator[types.CompletionItem]:
    for name, text in words.arguments_of(decoder).items():
        item = _item(f"{name}=", text, types.CompletionItemKind.Property)
        item.filter_text = name
        yield item


def _names(names: list[Binding], kinds: tuple[Kind, ...]) -> Iterator[types.CompletionItem]:
    for kind in kinds:
        for one in reversed(names):
            if one.kind == kind:
                item = _item(one.name, "", _KINDS[kind])
                item.detail = kind
                yield item


def _item(label: str, text: str, kind: types.CompletionItemKind) -> types.CompletionItem:
    documentation = types.MarkupContent(types.MarkupKind.Markdown, text) if text else None
    return types.CompletionItem(label, kind=kind, documentation=documentation)

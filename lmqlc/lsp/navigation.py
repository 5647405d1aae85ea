"""Where names are defined, and the outline of a program."""

from __future__ import annotations

import ast
from pathlib import Path

from lsprotocol import types
from pygls.uris import from_fs_path

from lmqlc.grammar.errors import LmqlError
from lmqlc.lsp.document import Document
from lmqlc.lsp.positions import Encoding, range_of
from lmqlc.lsp.scope import Binding, bindings_of, definition_of
from lmqlc.sources import read_source

_KINDS = {
    "hole": types.SymbolKind.Field,
    "function": types.SymbolKind.Function,
    "class": types.SymbolKind.Class,
    "variable": types.SymbolKind.Variable,
}


def definition(document: Document, name: str, offset: int, encoding: Encoding) -> types.Location | None:
    """Where a name at an offset is bound: in the program, or in a module beside it that it is imported from."""
    binding = definition_of(bindings_of(document.source, offset), name, offset)
    if binding is None:
        return None
    if binding.kind == "module":
        found = _imported(document, binding, encoding)
        if found is not None:
            return found
    return types.Location(document.uri, range_of(document.source, binding.span, encoding))


def _imported(document: Document, binding: Binding, encoding: Encoding) -> types.Location | None:
    """The place in a module beside the program; None where there is no such module."""
    line, _ = document.source.position(binding.span.start)
    try:
        statement = ast.parse(document.source.line(line).strip()).body[0]
    except (SyntaxError, ValueError, IndexError):
        return None
    name = binding.name
    if isinstance(statement, ast.ImportFrom) and statement.module:
        module, name = statement.module, next((one.name for one in statement.names if (one.asname or one.name) == name), name)
    elif isinstance(statement, ast.Import):
        module, name = next((one.name for one in statement.names if (one.asname or one.name) == name), name), ""
    else:
        return None
    path = Path(document.path).parent / f"{module.replace('.', '/')}.py"
    try:
        source = read_source(path)
    except LmqlError:
        return None
    inside = definition_of(bindings_of(source), name, len(source.text)) if name else None
    return types.Location(from_fs_path(str(path)) or "", range_of(source, inside.span if inside else None, encoding))


def symbols(document: Document, encoding: Encoding) -> list[types.DocumentSymbol]:
    """The holes, functions and classes of a program, and the variables of its own scope at their first binding."""
    found: dict[tuple[str, str], types.DocumentSymbol] = {}
    for binding in bindings_of(document.source):
        key = (binding.kind, binding.name)
        if binding.kind not in _KINDS or (binding.kind == "variable" and binding.scope is not None):
            continue
        if binding.kind == "hole" or key not in found:
            place = range_of(document.source, binding.span, encoding)
            found[(binding.kind, f"{binding.name} {binding.span.start}") if binding.kind == "hole" else key] = types.DocumentSymbol(
                binding.name, _KINDS[binding.kind], place, place, detail=binding.kind
            )
    return list(found.values())

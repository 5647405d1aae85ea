"""The language server: what editors show about programs while they are written. Needs the extra `lsp` (pygls)."""

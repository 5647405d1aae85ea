"""Syntax tree to IR, automata, masks and artifacts."""

"""Compiled programs and automata in other notations."""

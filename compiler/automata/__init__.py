"""Constraints as automata over text. Knows nothing of tokens."""

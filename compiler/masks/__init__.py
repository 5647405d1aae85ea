"""Automata over text and a vocabulary as token masks."""

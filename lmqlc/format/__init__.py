"""Formatting of programs: `lmqlc fmt`."""

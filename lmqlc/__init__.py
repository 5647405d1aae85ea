"""lmqlc: the compiled toolchain for LMQL, the query language for language models."""

__version__ = "0.1.0"

"""Names that programs of LMQL import from here."""

"""Libraries of queries, written in LMQL."""

"""Tests of queries: written beside them, run on a model or replayed from what a model said before."""

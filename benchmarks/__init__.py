"""Measurements behind the project's performance claims; `python -m benchmarks` runs them all."""

"""Source text to syntax tree. Knows nothing of models."""

"""A query behind HTTP: JSON in, JSON or server-sent events out. Needs the extra `serve`."""

"""`lmqlc serve-query`: a query behind HTTP, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from lmqlc.run_command import compiled_query, default_decoder, parse_decoder


def serve_query_command(
    query: str, *, model: str | None, decoder: str | None, host: str, port: int, api_key: str | None, bounds: dict[str, Any]
) -> None:
    """Serve a query until a signal. Raises what compiling it, loading its model and listening raise."""
    from lmqlc.queryserver.server import QueryServer
    from lmqlc.queryserver.service import Bounds

    sys.path.insert(0, "" if query == "-" else str(Path(query).resolve().parent))  # as for a Python script
    compiled = compiled_query(query)
    name, options = parse_decoder(decoder or default_decoder(compiled.program))
    server = QueryServer(
        compiled,
        model=model,
        decoder=name,
        options=options,
        host=host,
        port=port,
        api_key=api_key or os.environ.get("LMQL_API_KEY") or None,
        bounds=Bounds(**bounds),
    )

    def ready() -> None:
        print(f"lmqlc: ready: POST {server.url}/run (OpenAPI at {server.url}/openapi.json)", file=sys.stderr, flush=True)

    server.run(ready)

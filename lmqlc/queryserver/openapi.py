"""The OpenAPI document of a query's server, made from the query's signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmqlc import __version__
from lmqlc.compiler.ir import Program
from lmqlc.queryserver.signature import Schema, description, variables_schema

_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "diagnostics": {"type": "array", "items": {"type": "object"}},
                "result": {"type": "object", "description": "What the run had produced, where it ran out of room."},
            },
            "required": ["type", "message"],
        }
    },
    "required": ["error"],
}
_ERRORS = {
    "400": "The body is no JSON.",
    "413": "The body is too long.",
    "415": "The body is of another type.",
    "421": "The request names another host.",
    "422": "The arguments are not those of the query, or leave no text that meets a constraint.",
    "500": "The program failed.",
    "503": "The model cannot be used now, or too many runs are under way.",
    "504": "The run took too long.",
}


def document(program: Program, arguments: Schema, *, needs_key: bool) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    name = Path(program.source.name).stem or "query"
    text = description(program.source)
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": name, "version": __version__, **({"description": text} if text else {})},
        "paths": {
            "/run": {"post": _run(name)},
            "/health": {"get": {"operationId": "health", "responses": {"200": {"description": "The server is there."}}}},
        },
        "components": {
            "schemas": {"Arguments": arguments, "Result": _result(program), "Error": _ERROR},
        },
    }
    if needs_key:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}]
    return made


def _run(name: str) -> dict[str, Any]:
    def json_of(schema: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

    events = "Events text, hole, token, hole_end and value as they happen, then end with the result, or error."
    responses: dict[str, Any] = {
        "200": {
            "description": "The result of the run, or its events where the client accepts text/event-stream.",
            "content": {**json_of("Result"), "text/event-stream": {"schema": {"type": "string", "description": events}}},
        }
    }
    responses |= {status: {"description": text, "content": json_of("Error")} for status, text in _ERRORS.items()}
    return {
        "operationId": "run",
        "summary": f"Run {name}",
        "requestBody": {"required": True, "content": json_of("Arguments")},
        "responses": responses,
    }


def _result(program: Program) -> Schema:
    return {
        "type": "object",
        "properties": {
            "value": {"description": "What the query returns; absent where it returns nothing."},
            "variables": variables_schema(program),
            "prompt": {"type": "string"},
            "finish_reason": {"enum": ["end", "length"]},
            "logprob": {"type": ["number", "null"]},
            "distribution": {"type": "object"},
            "usage": {"type": "object"},
            "warnings": {"type": "array", "items": {"type": "string"}, "description": "Holes, or the run, that ended for want of tokens."},
            "results": {"type": "array", "items": {"type": "object"}, "description": "All branches, where there are several."},
        },
        "required": ["variables", "prompt", "finish_reason"],
    }

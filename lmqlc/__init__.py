"""lmqlc: the compiled toolchain for LMQL, the query language for language models.

Names are imported at their first use, so that `import lmqlc` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmqlc import decoders as decoders
    from lmqlc import errors as errors
    from lmqlc import events as events
    from lmqlc.api import CompiledQuery as CompiledQuery
    from lmqlc.api import compile as compile
    from lmqlc.api import load as load
    from lmqlc.api import parse as parse
    from lmqlc.api import token_automaton as token_automaton
    from lmqlc.models import LLM as LLM
    from lmqlc.models import generate as generate
    from lmqlc.models import generate_sync as generate_sync
    from lmqlc.models import inprocess as inprocess
    from lmqlc.models import model as model
    from lmqlc.models import score as score
    from lmqlc.models import score_sync as score_sync
    from lmqlc.models import set_default_model as set_default_model
    from lmqlc.queries import F as F
    from lmqlc.queries import query as query
    from lmqlc.queries import run as run
    from lmqlc.queries import run_file as run_file
    from lmqlc.queries import run_sync as run_sync
    from lmqlc.queryserver.server import serve_query as serve_query
    from lmqlc.runtime import decorators as decorators
    from lmqlc.runtime.certificate import Certificate as InferenceCertificate
    from lmqlc.runtime.certificate import certificate as certificate
    from lmqlc.runtime.constraint import constraint as constraint
    from lmqlc.runtime.results import Result as LMQLResult
    from lmqlc.runtime.trace import traced as traced
    from lmqlc.serving import serve as serve
    from lmqlc.streams import headless as headless
    from lmqlc.streams import printing as printing
    from lmqlc.streams import silent as silent
    from lmqlc.streams import stream as stream
    from lmqlc.verify import verify as verify
    from lmqlc.verify import verify_sync as verify_sync

_HOMES = {
    "lmqlc.api": ("CompiledQuery", "compile", "load", "parse", "token_automaton"),
    "lmqlc.constraints": (
        "FLOAT",
        "GRAMMAR",
        "INT",
        "JSON",
        "REGEX",
        "SENTENCES",
        "STOPS_AT",
        "STOPS_BEFORE",
        "TOKENS",
        "WORDS",
    ),
    "lmqlc.models": ("LLM", "generate", "generate_sync", "inprocess", "model", "score", "score_sync", "set_default_model"),
    "lmqlc.runtime.constraint": ("constraint",),
    "lmqlc.queryserver.server": ("serve_query",),
    "lmqlc.serving": ("serve",),
    "lmqlc.queries": ("F", "query", "run", "run_file", "run_sync"),
    "lmqlc.runtime.certificate": ("certificate",),
    "lmqlc.runtime.trace": ("traced",),
    "lmqlc.streams": ("headless", "printing", "silent", "stream"),
    "lmqlc.verify": ("verify", "verify_sync"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_OTHER = {
    "errors": ("lmqlc.errors", None),
    "decorators": ("lmqlc.runtime.decorators", None),
    "decoders": ("lmqlc.decoders", None),
    "events": ("lmqlc.events", None),
    "LMQLResult": ("lmqlc.runtime.results", "Result"),
    "InferenceCertificate": ("lmqlc.runtime.certificate", "Certificate"),
}

__all__ = [  # noqa: RUF022 - in the order of a reader's interest
    "run", "run_sync", "run_file", "query", "F", "LMQLResult", "stream", "printing", "silent", "headless", "events",
    "traced", "certificate", "InferenceCertificate", "verify", "verify_sync",
    "model", "inprocess", "serve", "serve_query", "LLM", "generate", "generate_sync", "score", "score_sync", "set_default_model",
    "compile", "load", "parse", "token_automaton", "CompiledQuery", "constraint", "decorators", "decoders", "errors",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home, attribute = _OTHER.get(name) or (_HOME.get(name), name)
    if home is None:
        raise AttributeError(f"module 'lmqlc' has no attribute {name!r}")
    module = import_module(home)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

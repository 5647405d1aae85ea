"""Whether the runs of a certificate repeat: they are run again, and compared with what the certificate says."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmqlc.backends.base import ModelSpec
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.models import default_model
from lmqlc.queries import F, program_of, run_program
from lmqlc.runtime.certificate import Certificate, read_certificate
from lmqlc.runtime.decoders import is_known, takes
from lmqlc.runtime.execute import run_coroutine
from lmqlc.runtime.functions import QueryFunction
from lmqlc.runtime.redact import REMOVED
from lmqlc.runtime.run import Settings

CLOSE = 1e-4
"""How far log-probabilities may differ."""


@dataclass(frozen=True)
class Verification:
    """What came of repeating a certificate's runs. True where they are the same."""

    runs: int
    differences: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        if self:
            return f"{self.runs} run{'' if self.runs == 1 else 's'} repeated, with the same outcome"
        return "\n".join(self.differences)


async def verify(
    certificate: Certificate | str | os.PathLike[str], query: Any = None, *, model: Any = None, arguments: Mapping[str, Any] | None = None
) -> Verification:
    """Repeat the runs of a certificate (or of its file) and compare ids, tokens, log-probabilities (to 1e-4), values and ends.

    query: the query that was run, needed where it was a query function, or where its text held a secret. model: where the certificate's
    model cannot be named, or another one is to be tried. arguments: values that are no JSON, or were left out as secrets.
    Raises LmqlError where something of this is missing.
    """
    content = (certificate if isinstance(certificate, Certificate) else read_certificate(certificate)).to_dict()
    runs = list(_runs(content))
    differences: list[str] = []
    for number, run in enumerate(runs, 1):
        again: list[Certificate] = []
        failed = await _repeat(run, query, model, arguments or {}, again.append)
        (new,) = again[-1].to_dict()["runs"]
        if failed is not None and run["error"] is None:
            differences.append(f"run {number}: failed now: {failed}")
        differences += [f"run {number}{difference}" for difference in _compare_runs(run, new)]
    return Verification(len(runs), tuple(differences))


def verify_sync(
    certificate: Certificate | str | os.PathLike[str], query: Any = None, *, model: Any = None, arguments: Mapping[str, Any] | None = None
) -> Verification:
    """`verify` from synchronous code."""
    return run_coroutine(verify(certificate, query, model=model, arguments=arguments))


def _runs(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from content["runs"]
    for child in content["children"]:
        yield from _runs(child)


async def _repeat(run: Mapping[str, Any], query: Any, model: Any, given: Mapping[str, Any], certificate: Any) -> Exception | None:
    """Run once more; what it raises, where the certificate is made all the same."""
    values = _arguments(run, given)
    options = _decoder_options(run) | {"model": _model(run, model), "certificate": certificate}
    try:
        if isinstance(query, QueryFunction):
            args, kwargs = _call(query, values)
            await query.results(args, {**kwargs, **options})
        else:
            program = query.program if isinstance(query, F) else program_of(query) if query is not None else _program(run)
            await run_program(program, (), {**values, **options}, Settings(default_model=default_model))
    except Exception as error:
        if run["error"] is None and not _has_run(error):
            raise
        return error
    return None


def _has_run(error: Exception) -> bool:
    return getattr(error, "result", None) is not None or hasattr(error, "lmql_result")


def _program(run: Mapping[str, Any]) -> Any:
    from lmqlc.compiler.driver import compile_source

    facts = run["program"]
    if facts["name"].startswith("<query ") or REMOVED in facts["text"]:
        raise LmqlError(f"the certificate's program {facts['name']} is needed to run it again; give it as the query")
    return compile_source(Source(facts["name"], facts["text"]))


def _arguments(run: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, fact in run["arguments"].items():
        if name in given:
            values[name] = given[name]
        elif isinstance(fact, dict) and ("value" in fact or "tuple" in fact) and REMOVED not in repr(fact):
            values[name] = fact["value"] if "value" in fact else tuple(fact["tuple"])
        else:
            raise LmqlError(f"the certificate does not hold the argument `{name}`; give it again, in `arguments`")
    return values


def _call(query: QueryFunction, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in query.__signature__.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kwargs |= values.get(name, {})
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            args += values.get(name, ())
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kwargs[name] = values[name]
        else:
            args.append(values[name])
    return tuple(args), kwargs


def _decoder_options(run: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder as it was, with the seed it had."""
    decoder = run["decoder"]
    if not is_known(decoder["name"]):  # the program binds it
        return {}
    options = {"decoder": decoder["name"], **decoder["arguments"]}
    return options | ({"seed": decoder["seed"]} if "seed" in takes(decoder["name"]) else {})


def _model(run: Mapping[str, Any], model: Any) -> Any:
    facts = run["model"]
    if model is not None or facts is None:
        return model
    if "kind" not in facts or REMOVED in repr(facts["options"]):
        raise LmqlError(f"the certificate cannot name its model {facts['backend']!r}; give it as `model`")
    return ModelSpec(facts["kind"], facts["name"], tuple(sorted(facts["options"].items())))


def _compare_runs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old["program"]["sha256"] != new["program"]["sha256"]:
        yield ": the program is another one"
    if (old["tokenizer"] or {}).get("fingerprint") != (new["tokenizer"] or {}).get("fingerprint"):
        yield ": the tokenizer has another vocabulary"
    if (old["error"] or {}).get("type") != (new["error"] or {}).get("type"):
        yield f": it ended with {_error(old)}, now with {_error(new)}"
    if len(old["results"]) != len(new["results"]):
        yield f": it had {len(old['results'])} results, now {len(new['results'])}"
    for number, (before, now) in enumerate(zip(old["results"], new["results"], strict=False), 1):
        for difference in _compare_results(before, now):
            yield f", result {number}: {difference}"


def _error(run: Mapping[str, Any]) -> str:
    return run["error"]["type"] if run["error"] else "no error"


def _compare_results(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if len(old["holes"]) != len(new["holes"]):
        yield f"it had {len(old['holes'])} holes, now {len(new['holes'])}"
    for before, now in zip(old["holes"], new["holes"], strict=False):
        if (difference := _compare_holes(before, now)) is not None:
            yield difference
            return  # what follows a difference differs too
    for key in ("prompt", "variables", "value", "finish_reason"):
        if old.get(key) != new.get(key):
            yield f"its {key.replace('_', ' ')} was {old.get(key)!r}, and is {new.get(key)!r}"
            return
    if "distribution" in old:
        yield from _compare_distributions(old["distribution"], new.get("distribution"))


def _compare_distributions(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> Iterator[str]:
    shares = [item["probability"] for item in new["values"]] if new else []
    for item, share in zip(old["values"], shares, strict=False):
        if not _close(item["probability"], share):
            yield f"the probability of {item['value']!r} was {item['probability']}, and is {share}"
    if len(shares) != len(old["values"]):
        yield "the distribution has other options"


def _compare_holes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    place = f"hole `{old['name']}`"
    if old["name"] != new["name"] or old["prompt_sha256"] != new["prompt_sha256"]:
        return f"{place} has another prompt before it"
    for number, (before, now) in enumerate(zip(old["tokens"] or (), new["tokens"] or (), strict=False), 1):
        if (before["id"], before["text"]) != (now["id"], now["text"]):
            return f"{place}: token {number} was {before['id']} {before['text']!r}, and is {now['id']} {now['text']!r}"
        if not _close(before["logprob"], now["logprob"]):
            return f"{place}: the log-probability of token {number} was {before['logprob']}, and is {now['logprob']}"
    for key in ("text", "value", "finish_reason"):
        if old[key] != new[key]:
            return f"{place}: its {key.replace('_', ' ')} was {old[key]!r}, and is {new[key]!r}"
    return None


def _close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=0, abs_tol=CLOSE)

"""No secret gets into a certificate, wherever a run has met it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import lmqlc
from lmqlc.backends.scripted import scripted
from lmqlc.runtime.redact import Redaction

SECRETS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=8, max_size=24).filter(
    lambda text: text.strip() == text and not set(text) <= set("0123456789abcdef. ")
)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


@settings(max_examples=60, deadline=None)
@given(SECRETS, st.sampled_from(["prompt", "value", "nested", "error", "variable"]), st.text("ab ", max_size=4))
def test_secrets_stay_out(secret: str, way: str, around: str) -> None:
    programs = {
        "prompt": '"{api_key}{around}[X]" where len(X) == 1',
        "value": '"[X]" where len(X) == 1\nreturn {"deep": [around + api_key]}',
        "nested": '"[X]" where X in [api_key + "!"]',
        "error": '"[X]" where len(X) == 1\nraise ValueError(around + api_key)',
        "variable": 'header = {"Authorization": api_key}\n"[X]" where len(X) == 1\n"{header}"\nreturn header',
    }
    found: list[Any] = []
    model, text = scripted("x"), programs[way]
    given_to = {"api_key": secret, **({"around": around} if "around" in text else {})}
    try:
        lmqlc.run_sync(text, model=model, certificate=found.append, **given_to)
    except ValueError:
        assert way == "error"
    content = found[0].to_dict()
    assert [text for text in strings(content) if secret in text or repr(secret)[1:-1] in text] == []
    for run in content["runs"]:
        for hole in (hole for result in run["results"] for hole in result["holes"]):
            spelled = "".join(token["text"] for token in hole["tokens"] or ())
            assert secret not in spelled
            if hole["prompt_ids"]:
                assert secret not in model.tokenizer.decode(hole["prompt_ids"])


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=12),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    )
)
def test_what_holds_no_secret_stays_as_it_is(value: Any) -> None:
    redaction = Redaction(environment={})
    if not any(redaction.is_secret_name(text) for text in strings(value)):
        assert redaction.clean(value) == value
    assert redaction.clean(redaction.clean(value)) == redaction.clean(value)

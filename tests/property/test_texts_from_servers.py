"""Whatever a server says, a hole gets a text that meets its constraint, or an error; and what is shown is what stands in the prompt."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmqlc
from lmqlc.backends.base import SessionUsage
from lmqlc.backends.text import TextAbilities, TextPiece, TextPrompt, TextRequest, TextToken
from lmqlc.grammar.errors import BackendUnavailable, ConstraintViolated, StreamBroken

WORDS = ["a", "b", "ab", "1", "12", " ", " 3", ".", "\n", "\n\n", "x.", "é", "日本", "-", "0", "yes", "no", "ye", "s!", "END"]
PIECES = [*WORDS, '{"answer": ', '"yes"}', "7}", '{"answer":"no"}']


class Server:
    """A server that says what it is told: a list of answers, each a list of tokens with an end; then nothing more than end-of-text."""

    level = "checked"
    name = "told"
    tokenizer = None

    def __init__(self, answers: list[tuple[list[tuple[str, list[str]]], str]], abilities: TextAbilities) -> None:
        self._answers = answers
        self._abilities = abilities
        self.requests: list[TextRequest] = []
        self.usage = SessionUsage()

    async def open_text(self) -> Server:
        return self

    async def abilities(self, prompt: TextPrompt) -> TextAbilities:
        return self._abilities

    async def complete(self, request: TextRequest) -> AsyncGenerator[TextPiece, None]:
        self.requests.append(request)
        tokens, end = self._answers.pop(0) if self._answers else ([], "stop")
        for number, (text, others) in enumerate(tokens):
            if number >= request.max_tokens:
                yield TextPiece(finish="length")
                return
            alternatives = tuple((other, -float(place)) for place, other in enumerate(others)) if request.alternatives else ()
            yield TextPiece((TextToken(text, None, -1.0, alternatives),))
        if end == "broken":
            raise StreamBroken("the answer broke off")
        yield TextPiece(finish="length" if end == "length" else "stop")

    async def close(self) -> None:
        pass


tokens = st.tuples(st.sampled_from(PIECES), st.lists(st.sampled_from(PIECES), max_size=3))
answers = st.lists(st.tuples(st.lists(tokens, max_size=6), st.sampled_from(["stop", "length", "broken"])), max_size=6)
abilities = st.builds(
    TextAbilities,
    server=st.just("told"),
    level=st.sampled_from(["checked", "delegated"]),
    continues=st.booleans(),
    schemas=st.booleans(),
    stops_kept=st.booleans(),
    alternatives=st.sampled_from([0, 5]),
)
Holds = Callable[[str], bool]

HOLES: list[tuple[str, Holds]] = [
    ("REGEX(X, '[ab]+1')", lambda x: re.fullmatch("[ab]+1", x) is not None),
    ("X in ['yes', 'no', 'yes!']", lambda x: x in ("yes", "no", "yes!")),
    ("STOPS_BEFORE(X, '\\n')", lambda x: "\n" not in x),
    ("STOPS_AT(X, '.') and len(X) < 9", lambda x: len(x) < 9 and "." not in x[:-1]),
    ("STOPS_BEFORE(X, 'END') and 'a' in X", lambda x: "a" in x),
    ("not '1' in X and len(WORDS(X)) < 4", lambda x: "1" not in x and len(x.split()) < 4),
    ("INT(X)", lambda x: True),
    ("X.isalpha() and len(TOKENS(X)) < 4", str.isalpha),
    ("len(TOKENS(X)) < 3", lambda x: True),
]


@pytest.mark.parametrize(("where", "holds"), HOLES, ids=[where for where, _ in HOLES])
@settings(max_examples=60, deadline=None)
@given(
    said=answers,
    level=st.sampled_from(["checked", "delegated"]),
    continues=st.booleans(),
    alternatives=st.sampled_from([0, 5]),
    seed=st.integers(0, 9),
)
def test_any_server(where: str, holds: Holds, said: Any, level: Any, continues: bool, alternatives: int, seed: int) -> None:
    server = Server(list(said), TextAbilities("told", level, continues=continues, alternatives=alternatives))
    shown: list[str] = []

    def show(event: object) -> None:
        shown.append(str(getattr(event, "text", "") if type(event).__name__ in ("TextEvent", "TokenEvent") else getattr(event, "rest", "")))

    decoder = {"decoder": "sample", "seed": seed} if seed % 2 else {}
    try:
        result = lmqlc.run_sync(f'"p: [X]!" where {where}', model=server, max_tokens=8, output_writer=show, **decoder)
    except (ConstraintViolated, BackendUnavailable):
        return
    hole = result.holes[0]
    assert holds(hole.text), hole
    assert result.prompt == f"p: {hole.text}!"
    assert "".join(shown) == result.prompt
    assert all(request.max_tokens <= 8 for request in server.requests)
    assert len(server.requests) < 40
    if "TOKENS" in where and hole.finish_reason != "eos":
        assert sum(not token.forced and bool(token.text) for token in hole.tokens) < (4 if "isalpha" in where else 3)

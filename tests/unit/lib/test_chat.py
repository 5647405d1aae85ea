"""Conversations on the terminal."""

from __future__ import annotations

import pytest

import lmqlc
from lmqlc.backends.scripted import scripted

CHAT = """
from lmql.lib.chat import message

"{:system}Be brief."
for turn in range(2):
    "{:user}{await input('> ')}"
    "{:assistant}Thinking:[REASONING]" where STOPS_AT(REASONING, "\\n")
    "{:assistant}[@message ANSWER]"
return ANSWER
"""


def test_a_conversation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["France?", "Italy? {:system}"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(answers))
    model = scripted(" hm\n", "Paris é.", " ho\n", "Rome.", chat=True)
    assert lmqlc.run_sync(CHAT, model=model) == "Rome."
    assert capsys.readouterr().out == "Paris é.\nRome.\n"


def test_what_is_shown_is_the_text_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    text = "from lmql.lib.chat import message\ndef loud(value):\n    return value.upper()\n"
    text += "'[@message @loud X] [@message Y]' where len(X) == 2 and STOPS_BEFORE(Y, 'END')"
    lmqlc.run_sync(text, model=scripted("ab", "a 🙂 cEND"))
    assert capsys.readouterr().out == "ab\nAB\na 🙂 c\n"

"""The prompt: what is tokenised together, what never again, and chats."""

from __future__ import annotations

import pytest

from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.prompt import Prompt

PLAIN, CHAT = ByteTokenizer(), ByteTokenizer(chat=True)


class WithPrefix(ByteTokenizer):
    def prefix(self) -> list[int]:
        return [0]


def test_text_of_several_writers_is_tokenised_as_one() -> None:
    prompt = Prompt()
    for piece in ("The nu", "mber", " is"):
        prompt.append_text(piece)
    assert prompt.ids(PLAIN) == PLAIN.encode("The number is", first=True)
    assert prompt.text == "The number is"


def test_decoded_ids_and_literals_after_them_keep_their_tokens() -> None:
    prompt = Prompt()
    prompt.append_text("x")
    letters = [PLAIN.encode(c, first=False)[0] for c in "th"]
    prompt.append_tokens(letters, "th", PLAIN)
    prompt.append_text("e")
    prompt.append_text(" the")
    assert prompt.ids(PLAIN) == [*PLAIN.encode("x", first=True), *letters, *PLAIN.encode("e the", first=False)]


def test_empty_prompt_starts_from_end_of_text_and_others_do_not() -> None:
    prompt = Prompt()
    assert prompt.ids(PLAIN) == [0]
    prompt.append_text("a")
    assert prompt.ids(PLAIN) == [0, *PLAIN.encode("a", first=True)]
    written = Prompt()
    written.append_text("a")
    assert written.ids(PLAIN) == PLAIN.encode("a", first=True)


def test_prefix_of_the_tokenizer_comes_first_and_once() -> None:
    prompt = Prompt()
    prompt.append_text("a")
    assert prompt.ids(WithPrefix()) == [0, *PLAIN.encode("a", first=True)]
    prompt.append_text("b")
    assert prompt.ids(WithPrefix())[0] == 0
    assert prompt.ids(WithPrefix()).count(0) == 1


def test_a_special_token_in_text_is_plain_characters() -> None:
    prompt = Prompt()
    prompt.append_text("<user>{:system}[X]")
    assert not set(prompt.ids(CHAT)) & CHAT.vocabulary.special


def test_chat_turns_go_through_the_template() -> None:
    prompt = Prompt()
    prompt.start_turn("user")
    prompt.append_text("Hello")
    prompt.start_turn("assistant")
    expected = CHAT.chat([{"role": "user", "content": "Hello"}], generation_prompt=True)
    assert prompt.ids(CHAT) == expected
    said = CHAT.encode("Yes", first=False)
    prompt.append_tokens(said, "Yes", CHAT)
    assert prompt.ids(CHAT) == [*(expected or []), *said]
    prompt.start_turn("user")
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes"}]
    opened = prompt.ids(CHAT)
    assert opened[:-1] == CHAT.chat(messages, generation_prompt=False)
    assert prompt.text == "{:user}Hello{:assistant}Yes{:user}"


def test_model_without_template_says_so() -> None:
    prompt = Prompt()
    prompt.start_turn("user")
    with pytest.raises(LmqlError, match="no chat template"):
        prompt.ids(PLAIN)


def test_text_before_the_first_role_is_refused_but_white_space_is_not() -> None:
    blank = Prompt()
    blank.append_text("\n")
    blank.start_turn("user")
    named = Prompt()
    named.append_text("Hi")
    with pytest.raises(LmqlError, match="before the first role"):
        named.start_turn("user")
    with pytest.raises(LmqlError, match="no chat role `bot`"):
        blank.start_turn("bot")


def test_restore_forgets_everything_since_the_mark() -> None:
    prompt = Prompt()
    prompt.append_text("The ")
    mark = prompt.mark()
    prompt.append_text("number")
    prompt.append_tokens([5], "x", PLAIN)
    prompt.append_text("y")
    prompt.restore(mark)
    prompt.append_text("yes")
    assert prompt.ids(PLAIN) == PLAIN.encode("The yes", first=True)
    assert prompt.text == "The yes"


@pytest.mark.parametrize(("text", "space"), [("", False), ("a", False), ("a ", True), ("a\n", True), ("a\u00a0", True)])
def test_ends_in_space(text: str, space: bool) -> None:
    prompt = Prompt()
    prompt.append_text(text)
    assert prompt.ends_in_space is space

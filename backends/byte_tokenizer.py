"""A tokenizer built in code, for models that are not learned: every byte is a token, and so are some common words.

Ids: 0 is end-of-text, 1 to 256 are the bytes, then the words, then the special tokens of chat turns. Text is read by longest match.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmqlc.backends.base import Vocabulary
from lmqlc.grammar.errors import LmqlError

EOS = 0
_FIRST_BYTE = 1
ROLES = ("system", "user", "assistant")

COMMON_WORDS = (
    *(" the", " a", " of", " and", " to", " in", " is", " it", " you", " that", " was", " for", " on", " are", " with", " as", " be"),
    *(" not", " yes", " no", " true", " false", " name", " answer", " question", " number", " city", " country"),
    *("the", "ing", "er", "ed", "ion", "The", "It", "Yes", "No", "yes", "no", "true", "false", "null", "Answer", "Question", "Hello"),
    *(str(number) for number in range(10, 100)),
    *("  ", "    ", "\n\n", ".\n", ".\n\n", ", ", ": ", '": "', '", "', "é", "ü", "😀"),
)


class ByteTokenizer:
    """`Tokenizer` over bytes and `words`. `chat`: with special tokens for turns: `<role>` text `<end>`."""

    bos_id: int | None = None

    def __init__(self, words: Sequence[str] = COMMON_WORDS, *, chat: bool = False) -> None:
        self.words, self.has_chat = tuple(words), chat
        spoken = [b"", *(bytes([value]) for value in range(256)), *(word.encode() for word in words)]
        self._turn = {role: len(spoken) + i for i, role in enumerate((*ROLES, "end"))} if chat else {}
        tokens = spoken + [b""] * len(self._turn)
        ends = [EOS, self._turn["end"]] if chat else [EOS]
        self.vocabulary = Vocabulary.build(tokens, ends, self._turn.values(), {f"<{name}>": i for name, i in self._turn.items()})
        self._ids = {token: i for i, token in reversed(list(enumerate(tokens))) if token}
        self._longest = max(map(len, tokens))

    def prefix(self) -> list[int]:
        """None: an empty prompt starts from the end-of-text token."""
        return []

    def encode(self, text: str, *, first: bool) -> list[int]:
        """Ids by longest match. `first` makes no difference. Raises LmqlError for a lone surrogate."""
        try:
            return self.encode_bytes(text.encode())
        except UnicodeEncodeError as error:
            raise LmqlError(f"text with a lone surrogate ({text[error.start : error.end]!a}) cannot be given to a model") from None

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes, by longest match."""
        ids: list[int] = []
        position = 0
        while position < len(data):
            ids.append(self.first_token(data, position))
            position += len(self.vocabulary.tokens[ids[-1]])
        return ids

    def first_token(self, data: bytes, position: int = 0) -> int:
        """The longest token that `data` has at a position."""
        for length in range(min(self._longest, len(data) - position), 1, -1):
            token_id = self._ids.get(data[position : position + length])
            if token_id is not None:
                return token_id
        return _FIRST_BYTE + data[position]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join([self.vocabulary.tokens[i] for i in ids]).decode("utf-8", errors="replace")

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        if not self._turn:
            return None
        ids: list[int] = []
        for message in messages:
            if message["role"] not in ROLES:
                raise LmqlError(f"unknown chat role {message['role']!r}: use one of {', '.join(ROLES)}")
            ids += [self._turn[message["role"]], *self.encode(message["content"], first=False), self._turn["end"]]
        return [*ids, self._turn["assistant"]] if generation_prompt else ids

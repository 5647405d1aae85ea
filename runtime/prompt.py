"""The prompt of one branch: its text, and the token ids that the model sees.

Text between two holes is tokenised as one piece, whoever wrote it; sampled ids stand as they were sampled. In a chat, the model's own
template writes everything up to the content of the open turn, and is applied again whenever a new turn starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmqlc.backends.base import Tokenizer
from lmqlc.backends.text import TextPrompt
from lmqlc.compiler.masks.heal import taken_back
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.chat_turns import in_chat

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Mark:
    """A prompt at one moment, to return to."""

    text: str
    ids: tuple[int, ...]
    pending: str
    head: tuple[int, ...] | None
    turns: tuple[tuple[str, str], ...]
    role: str | None
    content: str
    fresh: int
    pieces: int
    said: int


class Prompt:
    """Text and ids so far. `text` shows role tags as programs write them (`{:user}`)."""

    def __init__(self) -> None:
        self.text = ""
        self._ids: list[int] = []  # after the head: of the whole prompt, or of the open turn's content
        self._pending = ""  # written, but not tokenised yet
        self._head: list[int] | None = None  # None: not worked out yet
        self._turns: list[tuple[str, str]] = []  # closed chat turns
        self._role: str | None = None
        self._content = ""  # of the open turn
        self._fresh = 0  # ids at the end that are those of text, not sampled
        self._pieces: list[tuple[str, int]] = []  # whose text each part is, and where in `text` it ends
        self._said = 0  # where in the open turn's content, or in the text, the last hole ends

    @property
    def ends_in_space(self) -> bool:
        """The last character is white space."""
        return self.text[-1:].isspace()

    def append_text(self, text: str, whose: str = "text") -> None:
        """Add text from a literal or a value: it is characters and nothing else. whose: what to call it where the prompt is too long."""
        self.text += text
        self._pieces.append((whose, len(self.text)))
        self._content += text
        self._pending += text

    def append_tokens(self, ids: Sequence[int], text: str, tokenizer: Tokenizer, *, instead_of: int = 0, whose: str = "a hole") -> None:
        """Add a decoded hole: its ids as sampled, and their text. instead_of: ids at the end of the prompt that they stand for too."""
        self.ids(tokenizer)
        del self._ids[len(self._ids) - instead_of :]
        self._ids.extend(ids)
        self._fresh = 0
        self.text += text
        self._pieces.append((whose, len(self.text)))
        self._content += text
        self._said = len(self._content)

    def append_said(self, text: str, whose: str) -> None:
        """Add a decoded hole of a model that takes text."""
        self.append_text(text, whose)
        self._said = len(self._content)

    def start_turn(self, role: str) -> None:
        """Start a chat turn; the open one is closed."""
        if role not in ROLES:
            raise LmqlError(f"there is no chat role `{role}`; roles are {', '.join(ROLES)}")
        if self._role is not None:
            self._turns.append((self._role, self._content))
        elif self.text.strip():
            raise LmqlError("text stands before the first role tag of a chat; give it a role, for example `{:system}`")
        self.text += f"{{:{role}}}"
        self._pieces.append(("role tags", len(self.text)))
        self._role, self._content, self._pending, self._said = role, "", "", 0
        self._head, self._ids, self._fresh = None, [], 0

    def reader(self, tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer for a hole here: in a chat turn, the end of a turn ends a text."""
        return tokenizer if self._role is None else in_chat(tokenizer)

    def ids(self, tokenizer: Tokenizer) -> list[int]:
        """The ids of the whole prompt; never empty."""
        if self._head is None:
            self._head = self._chat_head(tokenizer) if self._role is not None else self._plain_head(tokenizer)
        if self._pending:
            first = self._role is None and not self._ids
            ids = tokenizer.encode(self._pending, first=first)
            self._ids.extend(ids)
            self._fresh += len(ids)
            self._pending = ""
        return self._head + self._ids

    def healable(self, tokenizer: Tokenizer) -> int:
        """How many ids at the end are text that a hole may take back."""
        before = len(self.ids(tokenizer)) - self._fresh
        return max(0, self._fresh - (before == 0))

    def taken_back(self, tokenizer: Tokenizer) -> tuple[int, bytes]:
        """How many ids at the end a hole may take back, and their text; (0, b"") for none.

        Ids that were sampled stay, and so do special tokens, what a chat template wrote, and the only id of a prompt.
        """
        return taken_back(tokenizer.vocabulary, self._ids[len(self._ids) - self.healable(tokenizer) :])

    def as_text(self) -> TextPrompt:
        """The prompt for a server that takes text. Raises LmqlError for lone surrogates, which no text on a wire can hold."""
        turns = () if self._role is None else (*self._turns, (self._role, self._content))
        prompt = TextPrompt("" if turns else self.text, turns, len(self._content) - self._said)
        for text in (prompt.text, *(content for _, content in prompt.turns)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise LmqlError(f"text with a lone surrogate ({text[error.start : error.end]!a}) cannot be given to a model") from None
        return prompt

    def largest_parts(self, tokenizer: Tokenizer, count: int = 4) -> str:
        """What fills the prompt, in words: the largest parts with the tokens of each, tokenised by itself."""
        sizes: dict[str, int] = {}
        start = 0
        for whose, end in self._pieces:
            sizes[whose] = sizes.get(whose, 0) + len(tokenizer.encode(self.text[start:end], first=False))
            start = end
        largest = sorted(sizes.items(), key=lambda part: -part[1])[:count]
        return ", ".join(f"{whose} ({size} token{'s' * (size != 1)})" for whose, size in largest if size)

    def mark(self) -> Mark:
        """The prompt as it stands now."""
        head = None if self._head is None else tuple(self._head)
        return Mark(
            self.text,
            tuple(self._ids),
            self._pending,
            head,
            tuple(self._turns),
            self._role,
            self._content,
            self._fresh,
            len(self._pieces),
            self._said,
        )

    def restore(self, mark: Mark) -> None:
        """Back to a mark, whatever was added since."""
        self.text, self._ids, self._pending = mark.text, list(mark.ids), mark.pending
        self._head = None if mark.head is None else list(mark.head)
        del self._pieces[mark.pieces :]
        self._turns, self._role, self._content, self._fresh = list(mark.turns), mark.role, mark.content, mark.fresh
        self._said = mark.said

    def _plain_head(self, tokenizer: Tokenizer) -> list[int]:
        """The tokenizer's own prefix; an empty prompt starts from the token that begins a text, else from an end-of-text token."""
        head = tokenizer.prefix()
        if head or self._pending:
            return head
        starts = [i for i in (tokenizer.bos_id, *tokenizer.vocabulary.eos_ids) if i is not None]
        if not starts:
            raise LmqlError("the prompt is empty, and the model has no token that a text could start from; write some text first")
        return starts[:1]

    def _chat_head(self, tokenizer: Tokenizer) -> list[int]:
        """Everything the chat template writes before the content of the open turn."""
        messages = [{"role": role, "content": content} for role, content in self._turns]
        if self._role == "assistant":
            return self._render(tokenizer, messages, generation_prompt=True)
        # A template has no opening for other roles: what two different contents share is what stands before them.
        one, two = (
            self._render(tokenizer, [*messages, {"role": str(self._role), "content": content}], generation_prompt=False)
            for content in ("0", "A")
        )
        same = 0
        while same < min(len(one), len(two)) and one[same] == two[same]:
            same += 1
        return one[:same]

    @staticmethod
    def _render(tokenizer: Tokenizer, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int]:
        ids = tokenizer.chat(messages, generation_prompt=generation_prompt)
        if ids is None:
            raise LmqlError(
                "the program uses chat roles, but the model has no chat template; "
                "choose a chat model, or write the turns as plain text without role tags"
            )
        return ids

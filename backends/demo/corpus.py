"""The training text of the demo model: documents made from templates and tables of this project, from a seed.

A document is a text, or a chat given as (role, content) turns. The same seed gives the same documents on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from lmqlc.backends.demo import knowledge, sums, writing

Turns = tuple[tuple[str, str], ...]
Document = str | Turns

TOPICS: tuple[tuple[int, Callable[[Random], Document]], ...] = (
    (12, knowledge.question),
    (4, knowledge.bare_question),
    (5, knowledge.statement),
    (6, knowledge.choice),
    (3, knowledge.options),
    (2, knowledge.truth),
    (5, knowledge.lookup),
    (4, knowledge.dictionary),
    (4, knowledge.listing),
    (5, knowledge.turns),
    (10, sums.equations),
    (8, sums.spoken),
    (2, sums.table),
    (2, sums.counting),
    (6, sums.problem),
    (2, sums.tool_use),
    (2, sums.turns),
    (10, writing.review),
    (3, writing.review_series),
    (2, writing.write_review),
    (9, writing.packing),
    (2, writing.shopping),
    (5, writing.greeting),
    (4, writing.saying),
    (6, writing.record),
    (6, writing.extraction),
    (7, writing.date),
    (2, writing.meeting),
    (2, writing.tale),
    (3, writing.small_talk),
    (2, writing.chat_lines),
)
"""How often each kind of document comes, as weights, and what makes it."""


def documents(seed: int) -> Iterator[Document]:
    """Documents without end, always the same ones for the same seed."""
    rng = Random(seed)  # noqa: S311  # text, not secrets
    makers = [maker for _, maker in TOPICS]
    weights = [weight for weight, _ in TOPICS]
    while True:
        yield rng.choices(makers, weights)[0](rng)


def plain(document: Document) -> str:
    """A document as plain text, its turns one a line: what the tokenizer is trained on."""
    return document if isinstance(document, str) else "\n".join(said for _, said in document)

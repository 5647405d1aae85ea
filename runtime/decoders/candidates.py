"""What searching decoders share: the likeliest continuations of branches, and which results are best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Logits
from lmqlc.runtime.search import Branch, Search

_ROWS = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """A branch, a token that may come next in it, and the score of both together."""

    branch: Branch
    token: int
    score: float


def likeliest(branches: Sequence[Branch], rows: Sequence[Logits], count: int) -> list[Candidate]:
    """The `count` best continuations of all branches, best first; ties go to the earlier branch, then to the smaller token. rows: as
    `Search.scores` gives them, `float32[V]` for each branch."""
    found: list[Candidate] = []
    for branch, row in zip(branches, rows, strict=True):
        found += [Candidate(branch, int(token), branch.score + float(row[token])) for token in top(row, count)]
    order = {id(branch): place for place, branch in enumerate(branches)}
    return sorted(found, key=lambda candidate: (-candidate.score, order[id(candidate.branch)], candidate.token))[:count]


def top(row: Logits, count: int) -> npt.NDArray[np.intp]:
    """The ids of the `count` largest finite values, largest first, smaller ids first where they are equal.

    One pass finds the largest value of every column of a table of 64 rows; the largest values lie in the columns whose largest values are.
    """
    columns = len(row) // _ROWS
    if columns > 2 * count:
        heads = row[: columns * _ROWS].reshape(_ROWS, columns).max(axis=0)
        chosen = np.flatnonzero(heads >= np.partition(heads, columns - count)[columns - count])
        ids = np.concatenate([(chosen + columns * np.arange(_ROWS)[:, None]).ravel(), np.arange(columns * _ROWS, len(row))])
    else:
        ids = np.arange(len(row))
    values = row[ids]
    order = np.lexsort((ids, -values))[:count]
    found: npt.NDArray[np.intp] = ids[order][np.isfinite(values[order])]
    return found


def grown(search: Search, candidates: Iterable[Candidate]) -> Iterator[Branch]:
    """Branches for candidates, in their order. Of several that end one constrained hole with one text, the first is kept, and none where a
    better one has gone on with it before."""
    seen: set[tuple[int, bytes]] = set()
    for candidate in candidates:
        branch = search.grow(candidate.branch, candidate.token, candidate.score)
        hole = branch.hole
        assert hole is not None
        if branch.ended and hole.constraint is not None:
            key = (id(branch.site), hole.data())
            if key in seen or search.repeats(branch):
                continue
            seen.add(key)
        yield branch


def best(branches: Iterable[Branch], count: int, rank: Callable[[Branch], float]) -> list[Branch]:
    """The best of branches, best first; the earlier of equal ones."""
    return sorted(branches, key=lambda branch: -rank(branch))[:count]


def best_results(finished: Iterable[Branch], count: int, rank: Callable[[Branch], float]) -> list[Branch]:
    """The best of finished branches, best first; of those that say the same in every hole, and came to the same prompt, one."""
    kept: dict[object, Branch] = {}
    for branch in sorted(finished, key=lambda branch: -rank(branch)):
        kept.setdefault((branch.way, branch.result.prompt if branch.result else None), branch)
    return list(kept.values())[:count]

"""The likeliest text of a hole whose texts are few, found best-first over the tree of their tokens.

A text is written as the model's tokenizer writes it in its place, what was taken back from the prompt included. Its score is the
log-probability of these tokens, after penalties; where it begins other texts, the log-probability that the model goes on with none of them
is added. Since a beginning is never less likely than what it begins, the likeliest beginning is judged next (Dijkstra 1959), and the search
ends when no beginning can beat the best text. Questions are put together: beginnings that are nearly as likely, and what must follow
them, are judged in one call.

Nothing here calls a model: a search is a generator that yields what it wants to know and is sent logits.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol, runtime_checkable

import numpy as np

from lmqlc.backends.base import Logits, Vocabulary
from lmqlc.backends.choice import Sampling
from lmqlc.compiler.masks.canonical import Encode, InText, encoded_behind
from lmqlc.compiler.masks.few_texts import FewTexts
from lmqlc.compiler.masks.hole import HoleRun, TokenResult
from lmqlc.compiler.masks.interface import Ids
from lmqlc.compiler.masks.token_automaton import TokenAutomaton
from lmqlc.compiler.masks.trie import vocabulary_index

MOST_JUDGED = 4096
"""Beginnings that are judged before the search is given up."""
TOGETHER = 32
"""Beginnings judged in one call, once there is a text to beat."""
_FIRST = 4
"""Beginnings judged in one call while there is none, where they are within a factor of the likeliest."""
_NEARLY = math.log(20.0)
_AHEAD = 16
"""Beginnings judged in one call where some of them follow others and there is a choice between them."""

Tail = tuple[int, ...]
"""Ids after a prompt."""


class Node:
    """A beginning of texts in tokens: `token` after another beginning, `depth` in all. ends: it is a text. longer: which begins others."""

    __slots__ = ("before", "children", "depth", "ends", "going_on", "longer", "token")

    def __init__(self, before: Node | None = None, token: int = -1) -> None:
        self.before = before
        self.token = token
        self.depth: int = 0 if before is None else before.depth + 1
        self.children: dict[int, Node] = {}
        self.ends = False
        self.longer = False
        self.going_on: Ids | None = None

    @property
    def ids(self) -> Tail:
        """All its tokens."""
        found: list[int] = []
        node = self
        while node.before is not None:
            found.append(node.token)
            node = node.before
        return tuple(reversed(found))

    @property
    def open(self) -> bool:
        """What the model thinks of it matters."""
        return bool(self.children) or (self.ends and self.longer)

    @property
    def choice(self) -> bool:
        """There is more than one way to go on or end."""
        return len(self.children) + self.ends > 1


class TextTree:
    """The texts of a hole as the tokenizer writes them, each after `heal`, the text that was taken back from the prompt."""

    def __init__(self, texts: FewTexts, vocabulary: Vocabulary, heal: bytes) -> None:
        self.root = Node()
        self.size = 1
        self.longest = 0
        self.spelled: dict[bytes, Node] = {}
        """Every text, `heal` before it."""
        self._texts = texts
        self._vocabulary = vocabulary
        self.heal = heal

    def add(self, ids: Sequence[int], text: bytes) -> None:
        """Add a text by its ids."""
        node = self.root
        for token in ids:
            after = node.children.get(token)
            if after is None:
                after = node.children[token] = Node(node, token)
                self.size += 1
            node = after
        node.ends = True
        self.spelled[self.heal + text] = node
        node.longer = bool(self._texts.longer(text))
        only_heal = bool(self.heal) and self._vocabulary.tokens[ids[0]] == self.heal
        self.longest = max(self.longest, len(ids) - only_heal)

    def going_on(self, node: Node) -> Ids:
        """Ids of the tokens that go on from a text into others."""
        if node.going_on is None:
            tokens = self._vocabulary.tokens
            text = b"".join([tokens[i] for i in node.ids])[len(self.heal) :]
            found: set[int] = set()
            for longer in self._texts.longer(text):
                found.update(self._beginning(longer[len(text) :], longer in self._texts.stopped))
            node.going_on = np.array(sorted(found), np.intp)
        return node.going_on

    def _beginning(self, rest: bytes, stopped: bool) -> Iterator[int]:
        """Tokens that begin a text, or run past its end where that is a stop."""
        order, tokens = vocabulary_index(self._vocabulary).by_bytes, self._vocabulary.tokens
        low, high = 0, len(order)
        for length in range(1, len(rest) + 1):
            prefix = rest[:length]
            low = bisect_left(order, prefix, low, high, key=lambda token: tokens[token][:length])
            high = bisect_right(order, prefix, low, high, key=lambda token: tokens[token][:length])
            if low == high:
                return
            yield from order[low : bisect_right(order, prefix, low, high, key=tokens.__getitem__)]
        if stopped:
            yield from order[low:high]


def text_tree(hole: HoleRun) -> TextTree | None:
    """The texts of a hole that has not begun; None where they are not few, its budget binds, or the tokenizer writes them otherwise."""
    constraint = hole.constraint
    if hole.reason is not None or hole.tokens or not isinstance(constraint, TokenAutomaton) or constraint.encode is None:
        return None
    tree = _kept_tree(constraint, _unheard(constraint.encode), hole.taken_back)
    return None if tree is None or tree.longest > hole.budget.tokens else tree


def _unheard(encode: Encode) -> Encode:
    """The tokenizer without whoever keeps what it is asked: the texts that are not chosen are nobody's business."""
    inner = getattr(encode.tokenizer, "unheard", None) if isinstance(encode, InText) else None
    return encode if inner is None else InText(inner)


def is_empty(hole: HoleRun) -> bool:
    """A hole that has not begun has ended: there is no text for it but the empty one."""
    return hole.reason is not None and not hole.tokens and isinstance(hole.constraint, TokenAutomaton)


_KEPT_NODES = 1 << 18
_lock = threading.Lock()
_trees: OrderedDict[tuple[int, Encode, bytes], tuple[object, TextTree | None]] = OrderedDict()
"""Trees by the identities of cores, which they keep alive, by tokenizers, and by what was taken back."""


def _kept_tree(constraint: TokenAutomaton, encode: Encode, heal: bytes) -> TextTree | None:
    key = id(constraint.core), encode, heal
    with _lock:
        found = _trees.get(key)
        if found is not None:
            _trees.move_to_end(key)
            return found[1]
    tree = _grown(constraint, encode, heal)
    with _lock:
        _trees[key] = constraint.core, tree
        size = sum(1 if kept is None else kept.size for _, kept in _trees.values())
        while size > _KEPT_NODES and len(_trees) > 1:
            _, (_, dropped) = _trees.popitem(last=False)
            size -= 1 if dropped is None else dropped.size
    return tree


def _grown(constraint: TokenAutomaton, encode: Encode, heal: bytes) -> TextTree | None:
    texts = constraint.core.texts
    if not isinstance(texts, FewTexts) or not texts.texts:
        return None
    vocabulary = constraint.vocabulary
    tree = TextTree(texts, vocabulary, heal)
    for text in texts.texts:
        ids = _written(encode, vocabulary, heal, text)
        if b"".join([vocabulary.tokens[i] for i in ids]) != heal + text:
            return None
        tree.add(ids, text)
    return tree


def _written(encode: Encode, vocabulary: Vocabulary, heal: bytes, text: bytes) -> list[int]:
    """A text as the tokenizer writes it behind the end of a prompt: in one token with it where it does so, else after it."""
    if heal:
        joined = encoded_behind(encode, vocabulary, heal, text)
        if joined and len(vocabulary.tokens[joined[0]]) > len(heal):
            return joined
        return [*encode(heal.decode()), *encode(text.decode())]
    return encode(text.decode())


@dataclass(frozen=True, slots=True)
class Step:
    """One token of a text, with the model's own log-probability (0.0 where it was not asked). forced: there was no other."""

    id: int
    logprob: float
    forced: bool


@dataclass(frozen=True, slots=True)
class Likeliest:
    """The likeliest text of a hole: its tokens, with the one that ends it where it begins other texts, and its score."""

    steps: tuple[Step, ...]
    score: float


@runtime_checkable
class RecallsTexts(Protocol):
    """A session that knows which text a hole had: of a recording."""

    def recalled(self, prompt: Sequence[int], tree: TextTree) -> Likeliest:
        """The text of the hole after a prompt."""
        ...


def write(hole: HoleRun, found: Likeliest) -> Iterator[TokenResult]:
    """Write a text into its hole, which ends with it; the tokens one by one, the hole being as far as each of them."""
    hole.exact = True
    for place, step in enumerate(found.steps, 1):
        token = hole.push(step.id, step.logprob, forced=step.forced)
        if place == len(found.steps):
            _end(hole)
        yield token
        if hole.reason is not None:
            return
    if not found.steps:
        _end(hole)


def _end(hole: HoleRun) -> None:
    """End a hole whose text is whole, where others begin with it, or its budget happens to be just enough."""
    if hole.reason is None or hole.reason == hole.budget.reason:
        hole.conclude("closed", 0)


@dataclass(slots=True)
class _Judged:
    """What the model thinks of a beginning: log-probabilities of its children after penalties, and its own; of an end that goes on with
    none of the longer texts."""

    scores: dict[int, float]
    logprobs: dict[int, float]
    end: float


class Search:
    """The search of one hole, which has not begun, after a prompt. known: how its tokens must begin."""

    def __init__(
        self, hole: HoleRun, tree: TextTree, prompt: Sequence[int], sampling: Sampling, *, fast_forward: bool = True, known: Tail = ()
    ) -> None:
        self._hole = hole
        self._tree = tree
        self._prompt = prompt
        self._sampling = sampling
        self._fast_forward = fast_forward
        self._known = known
        self._judged: dict[Node, _Judged] = {}
        self._rows: dict[Node, tuple[Logits, Logits]] = {}
        self._open: list[tuple[float, Tail, Node]] = []
        self._best: tuple[float, Tail, Node] | None = None

    def run(self) -> Generator[list[Tail], Logits, Likeliest | None]:
        """Yields tails of the prompt, distinct ones, and is sent next-token logits `float32[n, V]` after them. Gives the likeliest text;
        None past the bound, or where no text begins as is known."""
        if self._is_over():
            return Likeliest(tuple(Step(token, 0.0, False) for token in self._known), math.nan)
        start = self._start()
        if start.ids[: len(self._known)] != self._known[: len(start.ids)]:
            return None
        if not self._fast_forward:
            yield from self._ask(self._before(start))
        self._reach(0.0, start)
        while self._open:
            taken = self._next()
            if not taken:
                break
            wanted = self._with_following(taken)
            if len(self._judged) + len(wanted) > MOST_JUDGED:
                return None
            yield from self._ask(wanted)
            for cost, _, node in taken:
                self._reach(cost, node)
            best = None if self._best is None else self._best[2]
            self._rows = {node: rows for node, rows in self._rows.items() if node is best}
        return None if self._best is None else self._found(*self._best)

    def _ask(self, nodes: Sequence[Node]) -> Generator[list[Tail], Logits, None]:
        if nodes:
            rows = yield [node.ids for node in nodes]
            for node, row in zip(nodes, rows, strict=True):
                self._judged[node] = self._judge(node, row)

    def _ways(self, node: Node) -> dict[int, Node]:
        """The children of a node that agree with what is known."""
        place = node.depth
        if place >= len(self._known):
            return node.children
        token = self._known[place]
        return {token: node.children[token]} if token in node.children else {}

    def _is_over(self) -> bool:
        """What is known is a text with the token that ends it."""
        node = self._tree.root
        for token in self._known[:-1]:
            if token not in node.children:
                return False
            node = node.children[token]
        return bool(self._known) and node.ends and self._known[-1] not in node.children

    def _start(self) -> Node:
        """The first node with a choice, or the only text."""
        node = self._tree.root
        while not node.ends and len(node.children) == 1:
            (node,) = node.children.values()
        return node

    def _before(self, start: Node) -> list[Node]:
        """The nodes on the way to one, without it."""
        nodes, node = [], self._tree.root
        for token in start.ids:
            nodes.append(node)
            node = node.children[token]
        return nodes

    def _reach(self, cost: float, node: Node) -> None:
        """Take a beginning in, with all that is known behind it. cost: its negative log-probability."""
        pending = [(cost, node)]
        while pending:
            cost, node = pending.pop()
            judged = self._judged.get(node)
            if node.open and judged is None:
                heappush(self._open, (cost, node.ids, node))
                continue
            if node.ends and node.depth >= len(self._known):
                whole = (cost - (judged.end if judged else 0.0), node.ids, node)
                self._best = whole if self._best is None or whole[:2] < self._best[:2] else self._best
            for token, after in self._ways(node).items():
                assert judged is not None
                pending.append((cost - judged.scores[token], after))

    def _next(self) -> list[tuple[float, Tail, Node]]:
        """The beginnings to be judged next, likeliest first."""
        taken: list[tuple[float, Tail, Node]] = []
        most = _FIRST if self._best is None else TOGETHER
        while self._open and len(taken) < most:
            first = self._open[0]
            if self._best is not None and first[:2] >= self._best[:2]:
                self._open.clear()
            elif self._best is None and taken and first[0] > taken[0][0] + _NEARLY:
                break
            else:
                taken.append(heappop(self._open))
        return taken

    def _with_following(self, taken: Sequence[tuple[float, Tail, Node]]) -> list[Node]:
        """The beginnings with what will be asked about next, where that can be told before."""
        wanted = {node: None for _, _, node in taken}
        for _, _, node in taken:
            wanted |= dict.fromkeys(self._following(node, _AHEAD - len(wanted), TOGETHER - len(wanted)))
        return [node for node in wanted if node not in self._judged]

    def _following(self, node: Node, few: int, most: int) -> list[Node]:
        """All open beginnings after a node where they are few; else those that follow without a choice, at most so many."""
        found = [node]
        for one in found:
            found += self._open_ways(one)
            if len(found) > few + 1:
                break
        else:
            return found[1:]
        chain: list[Node] = []
        while len(chain) < most and len(after := self._open_ways(node)) == 1:
            (node,) = after
            chain.append(node)
        return chain

    def _open_ways(self, node: Node) -> list[Node]:
        return [child for child in self._ways(node).values() if child.open]

    def _judge(self, node: Node, row: Logits) -> _Judged:
        ways = np.fromiter(node.children, np.intp, len(node.children))
        own = _Shares(row)
        changed = self._sampling.penalised(row, [*self._prompt, *node.ids]) if self._sampling.has_penalties else row
        used = own if changed is row else _Shares(changed)
        logprobs = own.logprobs(ways)
        scores = logprobs if used is own else used.logprobs(ways)
        end = 0.0
        if node.ends and node.longer:
            end = used.without(self._tree.going_on(node))
            self._rows[node] = row, changed
        return _Judged(dict(zip(node.children, scores, strict=True)), dict(zip(node.children, logprobs, strict=True)), end)

    def _found(self, cost: float, ids: Tail, last: Node) -> Likeliest:
        steps: list[Step] = []
        node = self._tree.root
        for token in ids:
            judged = self._judged.get(node)
            steps.append(Step(token, 0.0 if judged is None else judged.logprobs[token], not node.choice))
            node = node.children[token]
        ending = self._ending(last)
        return Likeliest((*steps, ending) if ending is not None else tuple(steps), -cost)

    def _ending(self, node: Node) -> Step | None:
        """The likeliest token that ends the hole after a text which begins others; None where the model was not asked, or none ends it."""
        if node not in self._rows:
            return None
        row, changed = self._rows[node]
        ended = self._hole.fork()
        for token in node.ids:
            ended.push(token, 0.0)
        if ended.reason is not None:
            return None
        text, scores = ended.data(), ended.masked(changed).copy()
        scores[self._tree.going_on(node)] = -np.inf
        token = int(scores.argmax())
        if not np.isfinite(scores[token]):
            return None
        ended.push(token, 0.0)
        return Step(token, *_Shares(row).logprobs(np.array([token])), False) if ended.reason is not None and ended.data() == text else None


class _Shares:
    """Logits `float32[V]` as probabilities."""

    def __init__(self, row: Logits) -> None:
        self._row = row
        self._top = float(row.max())
        self._shares = row - row.max()
        np.exp(self._shares, out=self._shares)
        self._sum = float(self._shares.sum())

    def logprobs(self, ids: Ids) -> list[float]:
        """Natural log-probabilities of some tokens."""
        whole = math.log(self._sum)
        return [value - self._top - whole for value in self._row[ids].tolist()]

    def without(self, ids: Ids) -> float:
        """The log-probability that none of some tokens comes."""
        self._shares[ids] = 0.0
        rest = float(self._shares.sum())
        return min(math.log(rest / self._sum), 0.0) if rest > 0 else -math.inf

"""Decoders that search, against exhaustive and straightforward searches on a toy vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmqlc
from lmqlc.backends.base import Vocabulary
from lmqlc.backends.scripted import RandomBackend, log_softmax

TOKENS = [b"", b"a", b"b", b"ab", b"c"]


class ToyTokenizer:
    """Five tokens; text is tokenised by the longest token."""

    vocabulary = Vocabulary.build(TOKENS, eos_ids=[0])
    bos_id = None

    def prefix(self) -> list[int]:
        return []

    def encode(self, text: str, *, first: bool) -> list[int]:
        ids, data = [], text.encode()
        while data:
            best = max((i for i, token in enumerate(TOKENS) if token and data.startswith(token)), key=lambda i: len(TOKENS[i]))
            ids.append(best)
            data = data[len(TOKENS[best]) :]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(TOKENS[i] for i in ids).decode()

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> None:
        return None


def model(seed: int) -> RandomBackend:
    return RandomBackend(seed, tokenizer=ToyTokenizer())


# -- a program of holes whose values are sets of texts, and its searches in plain Python ------------------------------------------------

PROGRAM = """
values = []
while (step := plan(tuple(values))) is not None:
    text, options = step
    "{text}[X]" where X in options
    values.append(X)
return values
"""
Plan = Callable[[tuple[str, ...]], tuple[str, list[str]] | None]


@dataclass(frozen=True)
class Node:
    """A branch of the oracle: finished values, the ids before the hole, those of the hole, and the score."""

    values: tuple[str, ...]
    ids: tuple[int, ...]
    hole: tuple[int, ...]
    options: tuple[str, ...]
    score: float
    length: int
    done: bool = False

    @property
    def text(self) -> str:
        return b"".join(TOKENS[i] for i in self.hole).decode()

    def rank(self, penalty: float) -> float:
        return self.score / max(self.length, 1) ** penalty


def enter(plan: Plan, node: Node) -> Node:
    """The node at its next hole, or done."""
    step = plan(node.values)
    if step is None:
        return Node(node.values, node.ids, (), (), node.score, node.length, done=True)
    text, options = step
    ids = node.ids + tuple(ToyTokenizer().encode(text, first=False))
    return Node(node.values, ids, (), tuple(options), node.score, node.length)


def children(node: Node, backend: RandomBackend) -> Iterator[tuple[Node, bool]]:
    """Every legal next token of a node, and whether it ends the hole (the node's program has not gone on then)."""
    row = log_softmax(backend.row(node.ids + node.hole))
    for token, piece in enumerate(TOKENS):
        if token == 0:
            if node.text in node.options:
                yield Node((*node.values, node.text), node.ids + node.hole, (), (), node.score + row[0], node.length + 1), True
            continue
        text = node.text + piece.decode()
        if not any(option.startswith(text) for option in node.options):
            continue
        child = Node(node.values, node.ids, (*node.hole, token), node.options, node.score + row[token], node.length + 1)
        closed = text in node.options and not any(o != text and o.startswith(text) for o in node.options)
        if closed:
            yield Node((*node.values, text), node.ids + child.hole, (), (), child.score, child.length), True
        else:
            yield child, False


def first(plan: Plan, seed: int) -> Node:
    return enter(plan, Node((), (), (), (), 0.0, 0))


def exhaustive(plan: Plan, backend: RandomBackend) -> list[Node]:
    """Every way through the program, best first."""
    found, waiting = [], [first(plan, 0)]
    while waiting:
        node = waiting.pop()
        if node.done:
            found.append(node)
        else:
            waiting += [enter(plan, child) if ended else child for child, ended in children(node, backend)]
    return sorted(found, key=lambda node: -node.score)


def plain_beam(plan: Plan, backend: RandomBackend, n: int, penalty: float) -> list[Node]:
    live, done = [first(plan, 0)], []
    while live and len(done) < n:
        every = sorted((pair for node in live for pair in children(node, backend)), key=lambda pair: -pair[0].score)[: 2 * n]
        best = [enter(plan, child) if ended else child for child, ended in every[:n]]
        done += [node for node in best if node.done]
        live = [*(node for node in best if not node.done), *(child for child, ended in every[n:] if not ended)][:n]
        done = sorted(done, key=lambda node: -node.rank(penalty))[:n]
    return done


def plain_var(plan: Plan, backend: RandomBackend, b: int, n: int) -> list[Node]:
    live, done = [first(plan, 0)], []
    while live:
        values: list[Node] = []
        for start in live:
            inside, ended = [start], []
            while inside and len(ended) < b:
                every = sorted((pair for node in inside for pair in children(node, backend)), key=lambda p: -p[0].score)[: 2 * b]
                ended = sorted([*ended, *(c for c, end in every[:b] if end)], key=lambda c: -c.score)[:b]
                inside = [c for c, end in every if not end][:b]
            values += ended
        kept = [enter(plan, child) for child in sorted(values, key=lambda c: -c.score)[:n]]
        done += [node for node in kept if node.done]
        live = [node for node in kept if not node.done]
    return sorted(done, key=lambda node: -node.score)[:n]


TEXTS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4, unique=True)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Programs of one to three holes, whose texts and options depend on the values before."""
    depth = draw(st.integers(1, 3))
    sets = [draw(TEXTS) for _ in range(4)]
    texts = [draw(st.sampled_from(["", "a", "cb"])) for _ in range(4)]

    def plan(values: tuple[str, ...]) -> tuple[str, list[str]] | None:
        if len(values) >= depth or (values and values[-1] == "c"):
            return None
        place = (len(values) + sum(map(len, values))) % 4
        return "ab" + texts[place] if not values else texts[place], sets[place]

    return plan


def ambiguous(plan: Plan, values: tuple[str, ...] = ()) -> bool:
    """Some hole leaves one text at some point: what is forced is tokenised by the tokenizer alone, which the oracle does not do."""
    step = plan(values)
    if step is None:
        return False
    options = step[1]
    prefixes = {option[:size] for option in options for size in range(len(option))}
    forced = any(p not in options and len({o[len(p)] for o in options if o.startswith(p)}) == 1 for p in prefixes)
    return forced or any(ambiguous(plan, (*values, option)) for option in options)


def values_of(nodes: list[Node]) -> list[list[str]]:
    return [list(node.values) for node in nodes]


def decoded(plan: Plan, seed: int, decoder: str, **arguments: Any) -> list[Any]:
    found = lmqlc.run_sync(PROGRAM, plan=plan, model=model(seed), decoder=decoder, token_healing=False, **arguments)
    several = arguments.get("n", arguments.get("k", arguments.get("b", 0))) > 1
    return found if several and isinstance(found, list) and (not found or isinstance(found[0], list)) else [found]


CHECK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@CHECK
@given(plans().filter(lambda plan: not ambiguous(plan)), st.integers(0, 99))
def test_searches_that_are_wide_enough_find_everything(plan: Plan, seed: int) -> None:
    every = exhaustive(plan, model(seed))
    size = len(every)
    best = values_of(every)
    assert decoded(plan, seed, "beam", n=size + 1) == best
    assert decoded(plan, seed, "best_k", k=size + 1, width=5, length_penalty=0.0, budget=10**6) == best
    assert decoded(plan, seed, "var", b=size + 1, n=size + 1) == best
    found = decoded(plan, seed, "beam_var", n=size + 1, length_penalty=0.0)
    assert found == best
    few = min(3, size)
    assert decoded(plan, seed, "best_k", k=few, width=5, length_penalty=0.0, budget=10**6) == best[:few]  # exact, however few


@CHECK
@given(plans().filter(lambda plan: not ambiguous(plan)), st.integers(0, 99), st.integers(1, 3), st.sampled_from([0.0, 0.7, 1.0]))
def test_narrow_searches_do_what_their_definition_says(plan: Plan, seed: int, n: int, penalty: float) -> None:
    assert decoded(plan, seed, "beam", n=n, length_penalty=penalty) == values_of(plain_beam(plan, model(seed), n, penalty))
    assert decoded(plan, seed, "var", b=n, n=2) == values_of(plain_var(plan, model(seed), n, 2))
    assert decoded(plan, seed, "beam_sample", n=n, temperature=0, length_penalty=penalty) == decoded(
        plan, seed, "beam", n=n, length_penalty=penalty
    )
    assert decoded(plan, seed, "beam", n=1) == decoded(plan, seed, "argmax") or penalty

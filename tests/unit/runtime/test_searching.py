"""Decoders that search, against exhaustive and straightforward searches on a toy vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmqlc
from lmqlc.backends.base import Vocabulary
from lmqlc.backends.scripted import RandomBackend, log_softmax
from lmqlc.grammar.errors import LmqlCompileError, LmqlError
from lmqlc.runtime.decoders.candidates import top

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


class Ended:
    """Texts with which nodes have gone on from a hole; a node that is no better than one before it says the same in other tokens."""

    def __init__(self) -> None:
        self.scores: dict[Any, float] = {}

    def repeats(self, parent: Node, child: Node) -> bool:
        return self.scores.get((parent.values, parent.ids, child.values[-1]), -math.inf) >= child.score

    def note(self, parent: Node, child: Node) -> None:
        self.scores[parent.values, parent.ids, child.values[-1]] = child.score


Triple = tuple[Node, Node, bool]


def every_child(nodes: list[Node], backend: RandomBackend, count: int) -> list[Triple]:
    found = [(node, child, ended) for node in nodes for child, ended in children(node, backend)]
    return sorted(found, key=lambda triple: -triple[1].score)[:count]


def distinct(triples: list[Triple], before: Ended) -> list[Triple]:
    """Without nodes that say the same as a better one."""
    seen, kept = set(), []
    for parent, child, ended in triples:
        key = (parent.values, parent.ids, child.values[-1:])
        if not ended or not (key in seen or before.repeats(parent, child)):
            kept.append((parent, child, ended))
            if ended:
                seen.add(key)
    return kept


def best_results(done: list[Node], penalty: float) -> list[Node]:
    """Best first, one for each way to fill the holes."""
    kept: dict[tuple[str, ...], Node] = {}
    for node in sorted(done, key=lambda node: -node.rank(penalty)):
        kept.setdefault(node.values, node)
    return list(kept.values())


def plain_beam(plan: Plan, backend: RandomBackend, n: int, penalty: float) -> list[Node]:
    live, done, before = [first(plan, 0)], [], Ended()
    while live and len(done) < n:
        every = distinct(every_child(live, backend, 2 * n), before)
        for parent, child, ended in every[:n]:
            if ended:
                before.note(parent, child)
        best = [enter(plan, child) if ended else child for _, child, ended in every[:n]]
        done = best_results([*done, *(node for node in best if node.done)], penalty)[:n]
        live = [*(node for node in best if not node.done), *(child for _, child, ended in every[n:] if not ended)][:n]
    return done


def plain_var(plan: Plan, backend: RandomBackend, b: int, n: int) -> list[Node]:
    live, done = [first(plan, 0)], []
    while live:
        values: list[Node] = []
        for start in live:
            inside, ended = [start], []
            while inside and len(ended) < b:
                every = distinct(every_child(inside, backend, 2 * b), Ended())
                ended += [child for _, child, end in every[:b] if end]
                ended = list({child.values: child for child in sorted(ended, key=lambda c: c.score)}.values())
                ended = sorted(ended, key=lambda c: -c.score)[:b]
                inside = [child for _, child, end in every if not end][:b]
            values += ended
        kept = [enter(plan, child) for child in sorted(values, key=lambda c: -c.score)[:n]]
        done += [node for node in kept if node.done]
        live = [node for node in kept if not node.done]
    return sorted(done, key=lambda node: -node.score)[:n]


def unique(values: list[list[str]]) -> list[list[str]]:
    return [list(value) for value in dict.fromkeys(map(tuple, values))]


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


WIDE = [
    ("beam", lambda size: {"n": size}),
    ("best_k", lambda size: {"k": size, "width": 5, "length_penalty": 0.0, "budget": 10**6}),
    ("var", lambda size: {"b": size, "n": size}),
    ("beam_var", lambda size: {"n": size, "length_penalty": 0.0}),
]


@CHECK
@given(plans().filter(lambda plan: not ambiguous(plan)), st.integers(0, 99))
def test_searches_that_are_wide_enough_find_everything(plan: Plan, seed: int) -> None:
    """Every way through the program is found; after one hole, in the order of the likeliest way to write each value."""
    every = exhaustive(plan, model(seed))
    expected = unique(values_of(every))
    one_hole = {len(value) for value in expected} == {1}
    for decoder, arguments in WIDE:
        found = decoded(plan, seed, decoder, **arguments(len(every) + 1))
        assert found == expected if one_hole else sorted(found) == sorted(expected), decoder
    if one_hole:
        few = min(3, len(expected))
        exact = {"width": 5, "length_penalty": 0.0, "budget": 10**6}
        assert decoded(plan, seed, "best_k", k=few, **exact) == expected[:few]  # exact, however few


class Two(RandomBackend):
    """Writes `ab` as one token that it would not end, or better as two, with which it ends."""

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> np.ndarray:
        end, one, a, b = 0, 3, 1, 2
        after: dict[tuple[int, ...], dict[int, float]] = {(): {a: 0.6, one: 0.3}, (one,): {end: 0.05}, (a,): {b: 0.9}, (a, b): {end: 0.8}}
        shares = np.full(len(TOKENS), 1e-6, np.float32)
        for token, share in after.get(tuple(sequence)[1:], {end: 0.5}).items():
            shares[token] = share
        return np.log(shares / shares.sum())


@pytest.mark.parametrize(
    ("decoder", "arguments"), [("beam", {"n": 2}), ("beam_sample", {"n": 2, "temperature": 0}), ("beam_var", {"n": 2})]
)
def test_a_better_way_to_write_a_finished_value_takes_its_place(decoder: str, arguments: dict[str, Any]) -> None:
    backend = Two(0, tokenizer=ToyTokenizer())
    results = lmqlc.run_sync("'c[X]' where X in ['ab', 'abc', 'b']", model=backend, decoder=decoder, token_healing=False, **arguments)
    assert len({result.variables["X"] for result in results}) == len(results) == 2
    assert [token.text for token in results[0].holes[0].tokens] == ["a", "b", ""]
    free = lmqlc.run_sync("'c[X]'", model=backend, decoder="beam", n=3, token_healing=False, max_tokens=3)
    assert len({tuple(token.id for token in result.holes[0].tokens) for result in free}) == 3  # other tokens are other results there


@CHECK
@given(plans().filter(lambda plan: not ambiguous(plan)), st.integers(0, 99), st.integers(1, 3), st.sampled_from([0.0, 0.7, 1.0]))
def test_narrow_searches_do_what_their_definition_says(plan: Plan, seed: int, n: int, penalty: float) -> None:
    assert decoded(plan, seed, "beam", n=n, length_penalty=penalty) == values_of(plain_beam(plan, model(seed), n, penalty))
    assert decoded(plan, seed, "var", b=n, n=2) == values_of(plain_var(plan, model(seed), n, 2))
    assert decoded(plan, seed, "beam_sample", n=n, temperature=0, length_penalty=penalty) == decoded(
        plan, seed, "beam", n=n, length_penalty=penalty
    )
    assert decoded(plan, seed, "beam", n=1) == decoded(plan, seed, "argmax", greedy=True) or penalty


def test_scores_are_the_models_own_and_order_the_results() -> None:
    def plan(values: tuple[str, ...]) -> tuple[str, list[str]] | None:
        return ("ab", ["a", "ab", "b", "ca"]) if not values else ("c", ["b", "c"]) if len(values) < 2 else None

    results = lmqlc.run_sync(PROGRAM.replace("return values\n", ""), plan=plan, model=model(5), decoder="beam", n=9, token_healing=False)
    every = {(node.values, node.length): node.score for node in exhaustive(plan, model(5))}
    assert len(results) == 8  # four values of the first hole, two of the second
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    for result in results:
        values = tuple(hole.value for hole in result.holes)
        assert any(math.isclose(result.score, score, abs_tol=1e-5) for (found, _), score in every.items() if found == values)
        assert result.prompt == "ab" + values[0] + "c" + values[1]


def test_penalties_change_what_is_chosen_and_not_what_is_reported() -> None:
    arguments = {"model": model(2), "max_tokens": 6, "token_healing": False}
    plain = lmqlc.run_sync("'ab[X]'", decoder="beam", n=2, **arguments)
    other = lmqlc.run_sync("'ab[X]'", decoder="beam", n=2, frequency_penalty=9.0, **arguments)
    assert [result.prompt for result in plain] != [result.prompt for result in other]
    for result in other:
        ids, total = [3], 0.0  # "ab"
        for token in result.holes[0].tokens:
            total += log_softmax(model(2).row(tuple(ids)))[token.id]
            ids.append(token.id)
        assert math.isclose(result.score, total, abs_tol=1e-4)


def test_one_model_call_for_each_step_of_all_branches() -> None:
    backend = model(3)
    lmqlc.run_sync("'ab[X]'", model=backend, decoder="beam", n=4, max_tokens=8, token_healing=False)
    assert len(backend.calls) <= 8
    assert {len(call.sequences) for call in backend.calls[1:]} <= {1, 2, 3, 4}
    assert len(backend.calls[0].sequences) == 1
    backend = model(3)
    lmqlc.run_sync("'ab[X]'", model=backend, decoder="sample", n=4, seed=1, max_tokens=8, token_healing=False)
    assert len(backend.calls) <= 8
    assert {len(call.sequences) for call in backend.calls[:1]} == {4}


def drawn(**arguments: Any) -> list[str]:
    result = lmqlc.run_sync("'ab[X]'", model=model(1), max_tokens=2, token_healing=False, **arguments)
    return [one.holes[0].text for one in (result if isinstance(result, list) else [result])]


@pytest.mark.parametrize("decoder", ["sample", "beam_sample"])
def test_samples_follow_the_models_distribution(decoder: str) -> None:
    """Pearson's chi-square of two-token texts drawn one by one (n=1), by the exact probabilities at temperature 1.5."""
    expected: dict[tuple[int, ...], float] = {}
    for one, p in enumerate(_tempered(model(1).row((3,)))):
        if one == 0:
            expected[(0,)] = p
        else:
            expected |= {(one, two): p * q for two, q in enumerate(_tempered(model(1).row((3, one))))}
    count, seen = 600, dict.fromkeys(expected, 0)
    for seed in range(count):
        result = lmqlc.run_sync(
            "'ab[X]'", model=model(1), max_tokens=2, token_healing=False, decoder=decoder, temperature=1.5, seed=seed, n=1
        )
        seen[tuple(token.id for token in result.holes[0].tokens)] += 1
    likely = [key for key, p in expected.items() if p * count >= 5]
    rest = 1 - sum(expected[key] for key in likely)
    statistic = sum((seen[key] - expected[key] * count) ** 2 / (expected[key] * count) for key in likely)
    statistic += (count - sum(seen[key] for key in likely) - rest * count) ** 2 / max(rest * count, 1)
    assert len(likely) >= 6
    assert statistic < len(likely) + 4 * math.sqrt(2 * len(likely))  # mean and four standard deviations of the distribution


def _tempered(row: np.ndarray) -> np.ndarray:
    weights = np.exp((row.astype(np.float64) - row.max()) / 1.5)
    return weights / weights.sum()


def test_draws_without_replacement_are_plackett_luces() -> None:
    from lmqlc.runtime.decoders.beam_sample import draw
    from lmqlc.runtime.search import Branch

    branches = [Branch(-0.5, 0, 0), Branch(-1.0, 0, 0)]
    rows = [np.log(np.array([0.5, 0.2, 0.3], np.float32)), np.log(np.array([0.1, 0.6, 0.3], np.float32))]
    weights = {(b, t): math.exp((branches[b].score + rows[b][t]) / 2.0) for b in range(2) for t in range(3)}
    total = sum(weights.values())
    count, seen = 4000, dict.fromkeys(((x, y) for x in weights for y in weights if x != y), 0)
    random = np.random.default_rng(8)
    for _ in range(count):
        found = list(draw(branches, rows, 9, 2.0, random))
        keys = [(branches.index(c.branch), c.token) for c in found]
        assert sorted(keys) == sorted(weights)
        seen[(keys[0], keys[1])] += 1
    expected = {(x, y): count * weights[x] / total * weights[y] / (total - weights[x]) for x, y in seen}
    statistic = sum((seen[key] - expected[key]) ** 2 / expected[key] for key in seen)
    assert statistic < len(seen) + 4 * math.sqrt(2 * len(seen))


def test_draws_from_many_tokens_follow_their_weights() -> None:
    from lmqlc.runtime.decoders.beam_sample import draw
    from lmqlc.runtime.search import Branch

    random = np.random.default_rng(9)
    row = np.where(np.arange(150) % 3 == 0, -np.inf, random.normal(size=150)).astype(np.float32)
    weights = np.exp(row.astype(np.float64))
    count, seen = 5000, np.zeros(150)
    for _ in range(count):
        (candidate,) = draw([Branch(-2.0, 0, 0)], [row], 1, 1.0, random)
        seen[candidate.token] += 1
    legal = weights > 0
    expected = count * weights / weights.sum()
    assert seen[~legal].sum() == 0
    statistic = float(((seen - expected)[legal] ** 2 / expected[legal]).sum())
    assert statistic < legal.sum() + 4 * math.sqrt(2 * legal.sum())
    assert len(list(draw([Branch(0.0, 0, 0)], [row], 999, 1.0, random))) == legal.sum()


def test_the_same_seed_gives_the_same_beams() -> None:
    one, two, three = (drawn(decoder="beam_sample", n=3, temperature=1.5, seed=seed) for seed in (4, 4, 5))
    assert one == two
    assert [drawn(decoder="beam_sample", n=3, temperature=1.5, seed=seed) for seed in range(5)] != [one] * 5
    assert len(three) == 3


@CHECK
@given(st.lists(st.sampled_from([0.0, 1.0, -2.0, 3.5, -math.inf]), min_size=1, max_size=400), st.integers(1, 9))
def test_top_is_a_stable_sort(values: list[float], count: int) -> None:
    row = np.array(values, np.float32)
    expected = [i for i in np.argsort(-row, kind="stable")[:count] if np.isfinite(row[i])]
    assert list(top(row, count)) == expected


# -- programs ------------------------------------------------------------------------------------------------------------------------------


def test_effects_of_branches_happen_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []

    def tool(*args: Any) -> int:
        calls.append(args)
        return len(calls)

    text = """
first = tool("start")
"ab[X]" where X in ["a", "b", "c"]
second = tool(X)
"c[Y]" where Y in ["a", "b"]
print(X, Y)
return X, Y, first, second
"""
    results = lmqlc.run_sync(text, tool=tool, model=model(1), decoder="beam", n=6, token_healing=False)
    assert sorted((x, y) for x, y, _, _ in results) == [(x, y) for x in "abc" for y in "ab"]
    assert calls[0] == ("start",)
    assert sorted(calls[1:]) == [("a",), ("b",), ("c",)]
    assert all(first == 1 and calls[second - 1] == (x,) for x, _, first, second in results)
    assert sorted(capsys.readouterr().out.split()) == sorted("".join(f"{x}{y}" for x, y, _, _ in results))


def test_branches_that_are_dropped_do_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    text = """
"ab[X]" where X in ["a", "b", "c"]
try:
    "c[Y]" where len(Y) == 4
finally:
    print("ended", X)
"""
    dropped = 0
    for seed in range(5):
        results = lmqlc.run_sync(text, model=model(seed), decoder="beam", n=3, token_healing=False)
        ended = set(capsys.readouterr().out.splitlines())
        assert ended == {f"ended {result.variables['X']}" for result in results}
        dropped += len(ended) < 3
    assert dropped


def test_errors_come_out_with_what_their_branch_had_produced() -> None:
    text = "'ab[X]' where X in ['a', 'b']\nif X == 'b':\n    raise KeyError(X)\n'c[Y]' where len(Y) == 1"
    with pytest.raises(KeyError) as caught:
        lmqlc.run_sync(text, model=model(1), decoder="beam", n=2, token_healing=False)
    assert caught.value.lmql_result.variables == {"X": "b"}  # type: ignore[attr-defined]
    assert caught.value.lmql_result.prompt == "abb"  # type: ignore[attr-defined]


def test_nested_queries_types_decorators_and_distributions() -> None:
    text = """
from typing import Literal
seen, streamed = [], []
def note(value, text):
    seen.append(text)
    return value + "c"
@lmql.decorators.streaming
def watch(text): streamed.append(text)
@lmql.query
def inner(k):
    '''lmql
    "a[A]" where A in ["a", "b"]
    "c[B: Literal['a', 'bc']]"
    return A + B + k
    '''
"ab[V: inner('c')]"
"[@watch @note W]" where W in ["ab", "ca"]
"b[Z]" distribution Z in ["a", "b"]
return V, W, seen, streamed, Z
"""
    results = lmqlc.run_sync(text, model=model(4), decoder="beam", n=8, token_healing=False)
    assert len(results) == 8
    for v, w, seen, streamed, z in results:
        assert v in ("aac", "abcc", "bac", "bbcc") and w in ("abc", "cac") and z in "ab"
        assert seen == [w[:-1]]
        assert streamed[-1] == w[:-1]
        assert all(w.startswith(part) for part in streamed)


def test_events_are_those_of_the_results() -> None:
    events = list(lmqlc.stream("'ab[X]' where X in ['a', 'b', 'ca']", model=model(1), decoder="beam", n=2, token_healing=False))
    results = events[-1].results
    for number, result in enumerate(results):
        shown = [event for event in events[:-1] if event.branch == number]
        texts = [getattr(event, "text", "") or getattr(event, "rest", "") for event in shown]
        assert "".join(texts) == result.prompt


def test_max_len_ends_a_branch_and_keeps_it() -> None:
    results = lmqlc.run_sync("'ab[X]'\n'a[Y]'", model=model(3), decoder="beam", n=3, max_len=4, token_healing=False)
    assert {result.finish_reason for result in results} <= {"length", "end"}
    assert any(result.finish_reason == "length" for result in results)


def test_the_deadline_and_the_budget_of_tokens_hold() -> None:
    arguments = {"model": model(3), "decoder": "beam", "n": 2, "token_healing": False}
    with pytest.raises(lmqlc.errors.LmqlError, match=r"timeout of 0\.05 seconds"):
        lmqlc.run_sync("while True:\n    'ab[X]' where len(X) == 3", max_len=10**6, timeout=0.05, **arguments)
    results = lmqlc.run_sync("'ab[X]'\n'a[Y]'", max_total_tokens=6, **arguments)
    assert all(sum(len(hole.tokens) for hole in result.holes) <= 3 for result in results)


def test_what_cannot_be_searched_is_an_error() -> None:
    with pytest.raises(LmqlError, match="another task"):
        lmqlc.run_sync("import asyncio\nasync def f():\n    '[X]'\nawait asyncio.gather(f())", model=model(1), decoder="beam", n=2)
    with pytest.raises(LmqlCompileError, match="must give a list of finished branches"):
        lmqlc.run_sync("async def mine(search, live): return live\nmine\n    '[X]'", model=model(1))
    with pytest.raises(LmqlCompileError, match="is no decoder"):
        lmqlc.run_sync("mine = 3\nmine\n    '[X]'", model=model(1))
    with pytest.raises(LmqlCompileError, match="needs a value for `width`"):
        lmqlc.run_sync("async def mine(search, live, width): return live\nmine\n    '[X]'", model=model(1))


def test_decoders_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.runtime import decoders

    class Point:
        name, value = "greedy", "elsewhere:greedy"

        @staticmethod
        def load() -> Any:
            async def greedy(search: Any, live: list[Any], temperature: float = 0.0) -> list[Any]:
                while not live[0].finished:
                    (row,) = await search.scores(live)
                    token = int(row.argmax())
                    live = await search.settle([search.grow(live[0], token, live[0].score + float(row[token]))])
                return live

            return greedy

    def entry_points(*, group: str, name: str | None = None) -> list[Any]:
        return [Point] if group == decoders.GROUP and name in (None, "greedy") else []

    monkeypatch.setattr(decoders, "entry_points", entry_points)
    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    text = "greedy(temperature=1.0)\n    'ab[X]' where len(X) == 3\n    'c[Y]' where len(Y) == 2\n"
    argmax = lmqlc.run_sync(text, model=model(1), decoder="argmax", token_healing=False)
    assert lmqlc.run_sync(text, model=model(1), token_healing=False).prompt == argmax.prompt
    with pytest.raises(LmqlCompileError, match="takes no argument `width`"):
        lmqlc.run_sync("greedy(width=1)\n    'ab[X]'\n", model=model(1))

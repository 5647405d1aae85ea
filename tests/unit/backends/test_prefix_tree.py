"""The radix tree over id sequences against looking at every sequence."""

from __future__ import annotations

import random
import time

from lmqlc.backends.prefix_tree import Node, PrefixTree, shared_length


def random_ids(rng: random.Random) -> list[int]:
    return rng.choices(range(3), k=rng.randint(0, 8))


def check_shape(tree: PrefixTree[int], items: dict[tuple[int, ...], int]) -> None:
    """Every node has an item or several children, labels lead to where they say, and the items are those kept."""
    found = {}
    for node in tree:
        spelled: list[int] = []
        at: Node[int] | None = node
        while at is not None:
            spelled = at.label + spelled
            at = at.parent
        assert node.label
        assert node.depth == len(spelled)
        assert node.parent is not None
        assert node.parent.children[node.label[0]] is node
        assert node.item is not None or len(node.children) > 1
        if node.item is not None:
            found[tuple(spelled)] = node.item
    assert found == {ids: item for ids, item in items.items() if ids}


def test_tree_finds_what_looking_at_everything_finds() -> None:
    for seed in range(300):
        rng, tree = random.Random(seed), PrefixTree[int]()
        items: dict[tuple[int, ...], int] = {}
        nodes: dict[tuple[int, ...], Node[int]] = {}
        for step in range(40):
            ids = random_ids(rng)
            if rng.random() < 0.6:
                nodes[tuple(ids)], before = tree.put(ids, step)
                assert before == items.get(tuple(ids))
                items[tuple(ids)] = step
            elif items:
                gone = rng.choice(sorted(items))
                del items[gone]
                tree.drop(nodes.pop(gone))
            check_shape(tree, items)
            asked, limit = random_ids(rng), rng.randint(0, 9)
            shared = {kept: shared_length(list(kept), asked[:limit]) for kept in items}
            item, length = tree.longest(asked, limit)
            assert length == max(shared.values(), default=0)
            if length:
                (kept,) = (ids for ids, value in items.items() if value == item)
                assert shared[kept] == length
                if tuple(asked[:length]) in items:
                    assert kept == tuple(asked[:length])
            else:
                assert item is None
            whole = max((kept for kept in items if len(kept) <= limit and tuple(asked[: len(kept)]) == kept), key=len, default=None)
            assert tree.whole(asked, limit) == (None if whole is None else items[whole])


def seconds_to_find(count: int) -> float:
    tree, rng = PrefixTree[int](), random.Random(1)
    common = rng.choices(range(1000), k=500)
    sequences = [[*common, *rng.choices(range(1000), k=100)] for _ in range(count)]
    for i, ids in enumerate(sequences):
        tree.put(ids, i)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for ids in sequences[:50]:
            assert tree.longest(ids, 600)[1] == 600
        best = min(best, time.perf_counter() - started)
    return best


def test_a_look_up_takes_no_longer_with_many_sequences() -> None:
    assert seconds_to_find(5000) < 20 * seconds_to_find(50)  # looking at each would take a hundred times as long

"""Masks of random formulas equal brute force over all continuations, budgets, stops and following literals included.

The oracle knows nothing of automata: it evaluates the formula in plain Python on every text that tokens can spell within the budget.
Without a budget it looks a few tokens ahead, and a token that is allowed for a later text must lead to one: the text is found by walking
the linked automaton and judged by the formula.
"""

from __future__ import annotations

import os
import re
from collections import deque
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.constraint_parts import parts
from lmqlc.compiler.masks import classes
from lmqlc.compiler.masks.core import forget_cores
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, link
from lmqlc.grammar.errors import UnsatisfiableConstraint

EXAMPLES = int(os.environ.get("LMQLC_FORMULAS", "20000" if os.environ.get("LMQLC_LONG") else "500"))
PATTERNS = ("a+b?", "(a|b1)*", "[^a]{1,2}", "é|b+", r"\d+( \d+)*", r".*b", "(?i:A)b|1", r"\w{2}", "a(?!b).*", r"-?\d\.?\d*")
PIECES = ("a", "b", "ab", "ba", "1", "10", " ", ".", "é", "漢", "a.", "b ", "-", "aa", ". ", "\n", "é1", "0", "bab", " b", " a.")
OPS = ("<", "<=", "==", "!=", ">=", ">")

texts = st.sampled_from(PIECES) | st.text("ab1é. ", min_size=1, max_size=3)
whole = st.text("ab1é. -", max_size=3)


def const(value: Any) -> st.SearchStrategy[Any]:
    return st.builds(c.Const, value)


def _counts(unit: c.Unit) -> st.SearchStrategy[c.Constraint]:
    return st.builds(c.Count, st.just(unit), st.sampled_from(OPS), const(st.integers(-1, 4)))


atoms: st.SearchStrategy[c.Constraint] = st.one_of(
    st.builds(c.InSet, const(st.lists(whole, max_size=4) | st.sampled_from(["abab", "a1é.", ""]))),
    st.builds(c.Equals, const(whole)),
    st.builds(c.Contains, const(texts)),
    st.builds(c.StartsWith, const(texts | st.tuples(texts, texts))),
    st.builds(c.EndsWith, const(texts | st.tuples(texts, texts))),
    st.builds(c.TextIs, st.sampled_from(("isdigit", "isalpha", "isalnum", "isupper", "islower"))),
    st.builds(c.Matches, const(st.sampled_from(PATTERNS))),
    st.builds(c.Number, st.sampled_from(("int", "float"))),
    st.builds(c.NumberCompare, st.just("int"), st.sampled_from(OPS), const(st.integers(-12, 120))),
    st.builds(c.NumberCompare, st.just("float"), st.sampled_from(OPS), const(st.sampled_from([-1.5, 0.0, 0.5, 1.0, 10.1]))),
    *map(_counts, ("chars", "chars", "tokens", "tokens", "words", "sentences")),
    st.builds(c.Truth, const(st.booleans())),
)


def formulas(depth: int) -> st.SearchStrategy[c.Constraint]:
    if depth == 0:
        return atoms
    below = formulas(depth - 1)
    several = st.lists(below, min_size=1, max_size=3).map(tuple)
    return st.one_of(atoms, st.builds(c.And, several), st.builds(c.Or, several), st.builds(c.Not, below))


phrase = st.sampled_from(("a", "b", ".", "ab", "é", "b.", "10", "\n")) | st.sampled_from((re.compile("1+"), re.compile("a.?b")))
stops = st.builds(c.Stop, const(phrase | st.lists(phrase.filter(lambda p: isinstance(p, str)), min_size=1, max_size=3)), st.booleans())
constraints = st.builds(
    lambda rest, stop: c.And((rest, *stop)) if stop else rest, formulas(4), st.one_of(st.just([]), st.lists(stops, min_size=1, max_size=2))
)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    tokens = [b"", b"<e>", b"<pad>"]
    for piece in draw(st.lists(st.sampled_from(PIECES), min_size=2, max_size=6)):
        data = piece.encode()
        if len(data) > 1 and draw(st.integers(0, 3)) == 0:
            cut = draw(st.integers(1, len(data) - 1))
            tokens += [data[:cut], data[cut:]]
        else:
            tokens.append(data)
    tokens += draw(st.sampled_from([[], [tokens[3], b""], [b"a"]]))
    return Vocabulary.build(tokens, [1], [0, 1, 2], {draw(st.sampled_from(["b", ".", "ab", "10"])): 2})


NUMBERS = {"int": re.compile(r"-?(0|[1-9][0-9]*)"), "float": re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")}
PLAIN = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def compare(left: Any, op: str, right: Any) -> bool:
    return {"<": left < right, "<=": left <= right, "==": left == right, "!=": left != right, ">=": left >= right, ">": left > right}[op]


def sentences(text: str) -> int:
    ends = list(re.finditer(r"[.!?]+(?=\s|\Z)", text))
    return len(ends) + bool(text[ends[-1].end() :].strip() if ends else text.strip())


def holds(constraint: c.Constraint, text: str, tokens: int) -> bool:
    """The formula on a final text of some tokens, in plain Python; stops count as true."""
    match constraint:
        case c.And(args):
            return all(holds(arg, text, tokens) for arg in args)
        case c.Or(args):
            return any(holds(arg, text, tokens) for arg in args)
        case c.Not(arg):
            return not holds(arg, text, tokens)
        case c.Truth(value):
            return bool(value.value)
        case c.Stop():
            return True
        case c.Count(unit, op, bound):
            units = {"chars": len(text), "tokens": tokens, "words": len(text.split()), "sentences": sentences(text)}
            return compare(units[unit], op, bound.value)
        case c.NumberCompare(kind, op, bound):
            shape = NUMBERS["int"] if kind == "int" else PLAIN
            return bool(shape.fullmatch(text)) and compare(Decimal(text), op, Decimal(repr(bound.value)))
        case c.Number(kind):
            return bool(NUMBERS[kind].fullmatch(text))
        case c.TextIs(test):
            return bool(getattr(text, test)())
        case c.Matches(pattern):
            return bool(re.fullmatch(pattern.value, text))
        case c.InSet(options):
            return text in options.value
        case c.Equals(value):
            return bool(text == value.value)
        case c.Contains(part):
            return part.value in text
        case c.StartsWith(part):
            return text.startswith(part.value)
        case c.EndsWith(part):
            return text.endswith(part.value)
    raise AssertionError(constraint)


def stop_phrases(constraint: c.Constraint) -> list[tuple[bool, Any]]:
    args = constraint.args if isinstance(constraint, c.And) else (constraint,)
    found = []
    for part in args:
        if isinstance(part, c.Stop):
            value = part.phrase.value
            found += [(part.keep, one) for one in (value if isinstance(value, list) else [value])]
    return found


class Oracle:
    """Decoding as the language describes it, over sequences of tokens."""

    def __init__(self, constraint: c.Constraint, vocabulary: Vocabulary, follow: str) -> None:
        self.constraint = constraint
        self.follow = follow.encode()
        self.counts_words = any(isinstance(part, c.Count) and part.unit in ("words", "sentences") for part in parts(constraint))
        self.phrases = stop_phrases(constraint)
        self.eos = (*vocabulary.eos_ids, *(i for name, i in vocabulary.named.items() if any(phrase == name for _, phrase in self.phrases)))
        self.texts = {i: token for i, token in enumerate(vocabulary.tokens) if token and i not in vocabulary.special}
        self.finishing: dict[tuple[tuple[int, ...], int], bool] = {}

    def data(self, tokens: tuple[int, ...]) -> bytes:
        return b"".join(self.texts[i] for i in tokens)

    def final(self, tokens: tuple[int, ...]) -> bool:
        try:
            return holds(self.constraint, self.data(tokens).decode(), len(tokens))
        except UnicodeDecodeError:
            return False

    def stop(self, tokens: tuple[int, ...]) -> int | None:
        """Bytes to cut where the last token reaches a stop; those before it reach none."""
        data = self.data(tokens)
        for end in range(len(data) - len(self.texts[tokens[-1]]) + 1, len(data) + 1):
            try:
                text = data[:end].decode()
            except UnicodeDecodeError:
                continue
            lengths = [self.removed(tokens, text, length, keep) for keep, p in self.phrases for length in phrase_lengths(p, text)]
            fitting = [found for found in lengths if found is not None]
            if fitting:
                return len(data) - end + max(fitting)[1]
        return None

    def removed(self, tokens: tuple[int, ...], text: str, length: int, keep: bool) -> tuple[int, int] | None:
        """A phrase's length and the bytes to remove for it, where the formula holds for the rest."""
        kept = text if keep else text[: len(text) - length]
        size, count = len(kept.encode()), 0
        while len(self.data(tokens[:count])) < size:
            count += 1
        return (length, len(text.encode()) - size) if holds(self.constraint, kept, count) else None

    def can_finish(self, tokens: tuple[int, ...], left: int) -> bool:
        key = (tokens, left)
        if key not in self.finishing:
            self.finishing[key] = self.final(tokens) or (left > 0 and any(self.legal(tokens, i, left) for i in self.texts))
        return self.finishing[key]

    def legal(self, tokens: tuple[int, ...], token_id: int, left: int) -> bool:
        """The token leads to a valid text, with `left` tokens left before it."""
        if left <= 0 or token_id not in self.texts:
            return False
        then = (*tokens, token_id)
        try:
            self.data(then).decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data" and self.stop(then) is None:
                return False
        return self.stop(then) is not None or self.can_finish(then, left - 1)

    def begins_with_space(self, token_id: int) -> bool:
        return self.texts[token_id][:1].isspace()

    def ends_by_space(self, tokens: tuple[int, ...], left: int) -> bool:
        """White space may follow a valid text, and nothing else behind it. left: tokens that are looked ahead."""
        if not self.counts_words or not self.final(tokens):
            return False
        spaces = [i for i in self.texts if self.begins_with_space(i) and self.legal(tokens, i, left)]
        return bool(spaces) and not any(self.adds_more(tokens, (*tokens, i), left) for i in spaces)

    def adds_more(self, base: tuple[int, ...], tokens: tuple[int, ...], left: int) -> bool:
        """The tokens, or legal ones after them, end with a text that is not the one of `base` with white space after it."""
        data, text, cut = self.data(tokens), self.data(base), self.stop(tokens)
        if cut is not None or self.final(tokens):
            found = data[: len(data) - (cut or 0)]
            if not found.startswith(text) or found[len(text) :].strip():
                return True
        left -= 1
        return cut is None and any(self.adds_more(base, (*tokens, i), left) for i in self.texts if self.legal(tokens, i, left))

    def becomes_another(self, tokens: tuple[int, ...], text: bytes, left: int) -> bool:
        """Some legal continuation ends with another text."""
        for token_id in self.texts:
            if not self.legal(tokens, token_id, left):
                continue
            then = (*tokens, token_id)
            cut, data = self.stop(then), self.data(then)
            if cut is None and self.begins_with_space(token_id) and self.ends_by_space(tokens, AHEAD):
                continue
            if data[: len(data) - cut] != text if cut is not None else self.final(then) or self.becomes_another(then, text, left - 1):
                return True
        return False

    def agrees(self, token_id: int) -> bool:
        text = self.texts.get(token_id)
        return bool(self.follow) and text is not None and (self.follow.startswith(text) or text.startswith(self.follow))


def phrase_lengths(phrase: Any, text: str) -> list[int]:
    if isinstance(phrase, str):
        return [len(phrase)] if text.endswith(phrase) else []
    return [len(text) - start for start in range(len(text) + 1) if phrase.fullmatch(text[start:])]


def check_state(oracle: Oracle, linked: TokenAutomaton, state: Any, tokens: tuple[int, ...], left: int) -> list[int]:
    """Everything about a state with a budget; the legal tokens."""
    final = oracle.final(tokens)
    legal = [i for i in range(len(linked.vocabulary.tokens)) if oracle.legal(tokens, i, left)]
    ending = {*oracle.eos, *filter(oracle.agrees, oracle.texts)} if final else set()
    spaces = set(filter(oracle.begins_with_space, oracle.texts)) if left > 0 and oracle.ends_by_space(tokens, AHEAD) else set()
    ending |= spaces
    expected = sorted({*legal, *ending})
    flags = unpack(linked.mask(state), len(linked.vocabulary.tokens))
    assert [i for i, allowed in enumerate(flags) if allowed] == expected, tokens
    assert linked.is_final(state) == final
    assert linked.is_closed(state) == (final and not oracle.becomes_another(tokens, oracle.data(tokens), left)), tokens
    for token_id in range(len(linked.vocabulary.tokens)):
        then = linked.advance(state, token_id)
        assert (then is not None) == (token_id in expected)
        if then is not None:
            ended = token_id in spaces and (token_id not in legal or oracle.stop((*tokens, token_id)) is None)
            check_step(oracle, linked, then, (*tokens, token_id), "space" if ended else "text" if token_id in legal else "other")
    return legal


def check_step(oracle: Oracle, linked: TokenAutomaton, then: Any, tokens: tuple[int, ...], kind: str) -> None:
    assert linked.followed(then) == (kind == "other" and tokens[-1] not in oracle.eos) or kind == "space"
    if kind == "text":
        assert linked.stopped(then) == oracle.stop(tokens), tokens
    else:
        assert linked.stopped(then) == (0 if tokens[-1] in oracle.eos else len(oracle.texts[tokens[-1]]))


def check_unbounded(oracle: Oracle, linked: TokenAutomaton, state: Any, tokens: tuple[int, ...]) -> list[int]:
    """A state without a budget: near texts are allowed, every allowed token leads to a valid text, and a valid text is closed where no way
    on gives another one."""
    allowed = []
    if linked.ends_by_space(state):
        assert oracle.ends_by_space(tokens, 3)
    if linked.is_closed(state):
        assert oracle.final(tokens)
        assert not oracle.becomes_another(tokens, oracle.data(tokens), 3)
    elif oracle.final(tokens):
        check_leads_on(oracle, linked, state, tokens, oracle.data(tokens))
    for token_id in oracle.texts:
        then = linked.advance(state, token_id)
        if oracle.legal(tokens, token_id, 2):
            assert then is not None, (tokens, token_id)
        if then is not None and (linked.stopped(then) is None or oracle.stop((*tokens, token_id)) is not None):
            allowed.append(token_id)
            check_leads_on(oracle, linked, then, (*tokens, token_id))
    return allowed


def check_leads_on(oracle: Oracle, linked: TokenAutomaton, start: Any, tokens: tuple[int, ...], other: bytes | None = None) -> None:
    """Walk to the nearest end, and judge the text there. other: a text that does not count as an end."""
    seen, pending = set[Any](), deque([(start, tokens)])
    while pending:
        state, path = pending.popleft()
        cut = linked.stopped(state)
        data = oracle.data(path)
        if cut is not None and oracle.stop(path) is None:
            assert other is not None  # the text that follows a valid one
            continue
        if cut is not None:
            assert cut == oracle.stop(path)
            if data[: len(data) - cut] != other:
                return
            continue
        if linked.is_final(state) and data != other:
            assert oracle.final(path)
            return
        for token_id in oracle.texts:
            then = linked.advance(state, token_id)
            if then is not None and (linked.stopped(then) is not None or then not in seen):
                seen.add(then)
                pending.append((then, (*path, token_id)))
    raise AssertionError(f"no way on from {tokens}: {oracle.constraint!r} {oracle.texts!r}")


AHEAD = 4
"""Tokens that the oracle looks ahead to find what could follow white space."""
LONG = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES <= 500)


def linked_as(large: bool, automaton: TextAutomaton, vocabulary: Vocabulary, budget: int | None, follow: str) -> TokenAutomaton:
    """Linked; where `large`, as if the automaton had too many states for one block of them."""
    limit = classes.ONE_BLOCK
    try:
        if large:
            classes.ONE_BLOCK = 0
            forget_cores()
        return link(automaton, vocabulary, max_tokens=budget, follow=follow or None)
    finally:
        classes.ONE_BLOCK = limit


@LONG
@given(
    constraints,
    vocabularies(),
    st.sampled_from([0, 1, 2, 3, 3, 4, None]),
    st.sampled_from(["", "", "b", "a.", "é", "1 a"]),
    st.booleans(),
    st.data(),
)
def test_masks_equal_brute_force(
    constraint: c.Constraint, vocabulary: Vocabulary, budget: int | None, follow: str, large: bool, data: st.DataObject
) -> None:
    oracle = Oracle(constraint, vocabulary, follow)
    try:
        linked = linked_as(large, build(constraint), vocabulary, budget, follow)
    except UnsatisfiableConstraint:
        assert not oracle.can_finish((), 3 if budget is None else budget)
        return
    assert budget is None or oracle.can_finish((), budget)
    state, tokens = linked.start(), ()
    while linked.stopped(state) is None and len(tokens) < 4:
        if budget is None:
            legal = check_unbounded(oracle, linked, state, tokens)
        else:
            legal = check_state(oracle, linked, state, tokens, budget - len(tokens))
        if not legal:
            break
        token_id = data.draw(st.sampled_from(legal))
        state, tokens = linked.advance(state, token_id), (*tokens, token_id)

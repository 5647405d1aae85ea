"""What all uses of one automaton over one vocabulary share: tables, costs, and the masks built so far.

Holes differ in their budgets and in the text that follows them; neither changes the token classes. Cores are kept for the
automata used last, so that reaching a hole again costs nothing.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.longest import longest_text
from lmqlc.compiler.masks.classes import ClassBlock, TokenClasses
from lmqlc.compiler.masks.counters import FOREVER, Costs, Finish, KnownCosts, Moment
from lmqlc.compiler.masks.few_texts import FewTexts, Many, few_texts
from lmqlc.compiler.masks.forced import ForcedText
from lmqlc.compiler.masks.forms import Mask, MaskPool, words
from lmqlc.compiler.masks.interface import Bits, Ids
from lmqlc.compiler.masks.spaces import space_tokens
from lmqlc.compiler.masks.steps import Steps, values_of
from lmqlc.compiler.masks.trie import VocabularyIndex, vocabulary_index
from lmqlc.grammar.errors import UnsupportedConstraint


@dataclass(frozen=True, eq=False)
class Known:
    """What was found when an automaton was linked before, over S states and V tokens.

    width: number of values. block: that of all states, None where there are too many. costs: see `KnownCosts`.
    rows: uint32[D, ceil(V / 32)], masks without what ends a text; sizes: int32[D], tokens they allow. row: int32[S], the row of a state
    without budget; -1 where none is kept. enough: int32[S], the room from which on it is the mask. first: the row of the start state
    before any token, without budget and with all room; -1 for none.
    longest: see `Core.longest`.
    """

    width: int
    block: ClassBlock | None
    costs: KnownCosts
    rows: Bits
    sizes: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    enough: npt.NDArray[np.int32]
    first: int
    longest: int | None

    @cached_property
    def first_finish(self) -> Finish:
        """The costs after the first token."""
        first = self.costs.at(1)
        return self.costs.limit if first is None else first


class Core:
    """Tables of an automaton over a vocabulary; everything else is found when first needed."""

    def __init__(self, automaton: TextAutomaton, vocabulary: Vocabulary, known: Known | None = None) -> None:
        self.automaton = automaton
        self.vocabulary = vocabulary
        self.known = known
        self.steps = Steps(automaton, values_of(automaton, self.index.max_chars) if known is None else known.width)
        self.classes = TokenClasses(self.steps, lambda: self.index, None if known is None else known.block, known is not None)
        removed = _removed_chars(automaton) if self.steps.counts_chars else 0
        spelled = known is None and self._spelled()
        self.costs = Costs(self.steps, self.classes, removed=removed, spelled=spelled, known=None if known is None else known.costs)
        self._tables: OrderedDict[tuple[str, frozenset[int]], MaskTable] = OrderedDict()
        self.written: OrderedDict[Hashable, list[int]] = OrderedDict()
        """The ids of forced texts that are certain, by what they depend on."""

    @property
    def nbytes(self) -> int:
        """Bytes that are held now, about: the automaton, its token classes, and masks."""
        automaton = self.automaton
        return automaton.delta.nbytes + automaton.accepts.nbytes + self.classes.nbytes + sum(t.nbytes for t in list(self._tables.values()))

    @cached_property
    def index(self) -> VocabularyIndex:
        return vocabulary_index(self.vocabulary)

    def _spelled(self) -> bool:
        """Whether every byte that the automaton reads is a token of its own."""
        read = np.any([table.any(axis=0) for table in self.steps.first], axis=0)[self.steps.byte_class]
        return bool(self.index.single_bytes[read].all())

    @cached_property
    def longest(self) -> int | None:
        """The most tokens that a text may take, None where texts have no bound; see `longest_text`."""
        return longest_text(self.automaton) if self.known is None else self.known.longest

    @cached_property
    def forced(self) -> ForcedText:
        """The texts that leave no choice, where counts of tokens do not matter."""
        return ForcedText(self.steps, self.costs.by_bytes[0])

    @cached_property
    def texts(self) -> FewTexts | Many:
        """All texts, or why they are not listed."""
        return few_texts(self.automaton)

    @cached_property
    def eos(self) -> Ids:
        """Ids that end a text."""
        return np.array([i for i in self.vocabulary.eos_ids if 0 <= i < len(self.vocabulary)], np.intp)

    def masks(self, follow: str, ends: frozenset[int] = frozenset()) -> MaskTable:
        """The masks of holes that are followed by a literal; ends: special tokens that end them beside end-of-text."""
        with _lock:
            table = self._tables.get((follow, ends))
            if table is None:
                table = self._tables[follow, ends] = MaskTable(self, follow, ends)
                while len(self._tables) > _TABLES:
                    self._tables.popitem(last=False)
            return table


_TABLES = 8
_KEPT = 64
_MASKS = 4096
"""Distinct masks kept per table (12 KB each for 100,000 tokens)."""


def _removed_chars(automaton: TextAutomaton) -> int:
    """Code points that every stop removes."""
    lengths = {0 if phrase.keep else None if phrase.text is None else len(phrase.text) for phrase in automaton.phrases} or {0}
    length = lengths.pop()
    if lengths or length is None:
        raise UnsupportedConstraint("stop phrases of different lengths need the character limit inside the automaton")
    return length


def following(vocabulary: Vocabulary, index: VocabularyIndex, literal: bytes) -> list[int]:
    """Ids of the tokens that agree with a following literal: nonempty prefixes of it, or beginning with all of it."""
    tokens, order = vocabulary.tokens, index.by_bytes
    found: list[int] = []
    for length in range(1, len(literal) + 1):
        prefix = literal[:length]

        def start(token: int, length: int = length) -> bytes:
            return tokens[token][:length]

        low = bisect_left(order, prefix, key=start)
        high = bisect_right(order, prefix, low, key=start)
        if low == high:
            break
        found += order[low:high] if length == len(literal) else order[low : bisect_right(order, prefix, low, high, key=tokens.__getitem__)]
    return found


def agrees(text: bytes, literal: bytes) -> bool:
    """Bytes agree with a following literal (none: b""): they are a nonempty prefix of it, or begin with all of it."""
    return bool(text and literal) and (literal.startswith(text) or text.startswith(literal))


class MaskTable:
    """The masks of one core at final and other states; at final ones, tokens that end the text are added.

    follow: the following literal, "" for none. ends: special tokens that end the text too. A way to end is 0 where the text may not end; 1
    where it may, by end-of-text or the following literal; 2 where it may by tokens that begin with white space too.
    """

    def __init__(self, core: Core, follow: str, ends: frozenset[int]) -> None:
        self._core = core
        self._ends = ends
        self._literal = follow.encode()
        self._pool = MaskPool(len(core.vocabulary))
        self._by_choice: dict[tuple[int, bytes, int], tuple[Mask, bool]] = {}
        self._recalled: dict[tuple[int, int], tuple[Mask, bool]] = {}
        self._by_state: dict[tuple[int, int, int, int], tuple[Mask, bool]] = {}
        self._needs: dict[tuple[int, int], tuple[npt.NDArray[np.int32], int]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the masks."""
        return 4 * words(self._pool.width) * (len(self._by_choice) + len(self._recalled))

    @cached_property
    def follow(self) -> frozenset[int]:
        """Ids of the tokens that agree with the following literal."""
        return frozenset(following(self._core.vocabulary, self._core.index, self._literal) if self._literal else ())

    @cached_property
    def _ending(self) -> tuple[Ids, Ids, Ids]:
        """The tokens that end a text, by the way to end."""
        ends = np.concatenate([self._core.eos, np.array(sorted(self.follow | self._ends), np.intp)])
        spaces = space_tokens(self._core.vocabulary)[0] if self._core.automaton.spaces_end else ends[:0]
        return ends[:0], ends, np.union1d(ends, spaces)

    @cached_property
    def nothing(self) -> Mask:
        """The mask that allows no token."""
        return self._pool.extend(np.zeros(words(self._pool.width), np.uint32), 0, np.zeros(0, np.intp))

    @cached_property
    def _end_only(self) -> Mask:
        return self._pool.extend(np.zeros(words(self._pool.width), np.uint32), 0, self._ending[1])

    def get(self, q: int, room: int, moment: Moment, end: int) -> tuple[Mask, bool]:
        """The mask of a state with a way to end, and whether a token is allowed that does not end the text."""
        if moment.finish is None:
            return (self._end_only if end else self.nothing), False
        row = self._known_row(q, room, moment)
        if row is not None:
            return self._recall(row, end)
        need, most = self.need(q, moment)
        key = (q, min(room, most), moment.number, end)
        found = self._by_state.get(key)
        if found is None:
            found = self._by_state[key] = self._choose(q, need <= room, end)
        return found

    def _known_row(self, q: int, room: int, moment: Moment) -> int | None:
        """The row of a mask kept from an earlier link, None where there is none."""
        core, known = self._core, self._core.known
        if known is None:
            return None
        if moment.finish is known.costs.limit and known.row[q] >= 0 and room >= known.enough[q]:
            return int(known.row[q])
        started = q == core.automaton.start and moment.finish is known.first_finish and moment.pair == core.steps.pair(0)
        return known.first if started and known.first >= 0 and room >= (core.automaton.char_limit or 0) else None

    def _recall(self, row: int, end: int) -> tuple[Mask, bool]:
        """A mask kept from an earlier link."""
        found = self._recalled.get((row, end))
        if found is None:
            known = self._core.known
            assert known is not None
            size = int(known.sizes[row])
            mask = self._pool.extend(known.rows[row], size, self._ending[end])
            found = self._recalled[row, end] = mask, size > 0
        return found

    def need(self, q: int, moment: Moment) -> tuple[npt.NDArray[np.int32], int]:
        """int32[K], room that a token of each class needs at a state, and the most that any needs which can be met."""
        return self._needs.get((q, moment.number)) or self._measure(q, moment)

    def _measure(self, q: int, moment: Moment) -> tuple[npt.NDArray[np.int32], int]:
        if len(self._by_state) + len(self._needs) > _STATES:
            self._by_state.clear()
            self._needs.clear()
        assert moment.finish is not None
        block = self._core.classes.block(q)
        need = moment.finish.take(block.table[moment.pair, q - block.first]) + block.chars
        met = need[need < FOREVER // 2]
        most = int(met.max()) if len(met) else 0
        self._needs[q, moment.number] = need, most
        return need, most

    def _choose(self, q: int, allowed: npt.NDArray[np.bool_], end: int) -> tuple[Mask, bool]:
        block = self._core.classes.block(q)
        key = (block.first, allowed.tobytes(), end)
        found = self._by_choice.get(key)
        if found is None:
            if len(self._by_choice) >= _MASKS:
                self._by_choice.clear()
                self._by_state.clear()
            mask = self._pool.build(block, allowed, self._ending[end])
            found = self._by_choice[key] = mask, bool(allowed.any())
        return found


_STATES = 1 << 16
_same: dict[tuple[str, int], Core] = {}
"""Cores by the identity of their automaton: a core holds its automaton, so an identity found here is never another's."""
_lock = threading.Lock()
_cores: OrderedDict[tuple[str, bytes], Core] = OrderedDict()


def core_of(automaton: TextAutomaton, vocabulary: Vocabulary) -> Core:
    """The core of an automaton over a vocabulary, kept for the ones used last."""
    same = _same.get((vocabulary.fingerprint, id(automaton)))
    if same is not None:
        return same
    key = (vocabulary.fingerprint, digest(automaton))
    with _lock:
        core = _cores.get(key)
        if core is not None:
            _cores.move_to_end(key)
            return core
    core = Core(automaton, vocabulary)
    with _lock:
        if len(_same) >= _KEPT:
            _same.clear()
        _same[vocabulary.fingerprint, id(automaton)] = core
        _cores[key] = core
        while len(_cores) > _KEPT:
            _cores.popitem(last=False)
    return core


def forget_cores() -> None:
    """Drop all that is kept between links."""
    with _lock:
        _cores.clear()
        _same.clear()


def digest(automaton: TextAutomaton) -> bytes:
    """A hash of everything an automaton says."""
    numbers = hashlib.blake2b(digest_size=32)
    for array in (automaton.delta, automaton.byte_class, automaton.accepts, automaton.stops, automaton.token_bounds, automaton.holds):
        if array is None:
            continue
        numbers.update(repr((array.shape, array.dtype.str)).encode())
        numbers.update(np.ascontiguousarray(array).data)
    rest = automaton.start, automaton.char_limit, automaton.phrases, automaton.memory, automaton.spaces_end
    numbers.update(repr(rest).encode())
    return numbers.digest()

"""Tokenizers of Hugging Face models, as the rest of the project sees them (`lmqlc.backends.base.Tokenizer`).

`load_tokenizer` takes a model directory, a `tokenizer.json`, a `tokenizers.Tokenizer` or a transformers tokenizer. Directories and
files are read with the `tokenizers` package alone, so that compiling for a model does not import transformers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.backends.chat import ChatTemplate, encode_chat
from lmqlc.backends.pieces import flatten, token_bytes, unknown_id
from lmqlc.backends.tokenizer_files import TokenizerFacts, read_facts
from lmqlc.grammar.errors import LmqlError, ModelNotFound

TokenName = int | str

_LOSSY_NORMALIZERS_EXCEPT = {"Prepend", "Replace"}
_NESTED = ("normalizer", "pre_tokenizer", "normalizers", "pretokenizers")
_NO_SPACE: dict[str, Any] = {"prepend_scheme": "never", "add_prefix_space": False}
_LOSSY_SPLITTERS = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer", "CharDelimiterSplit"}


class HFTokenizer:
    """A `tokenizers.Tokenizer` (the fast tokenizers of Hugging Face) as the project's `Tokenizer`.

    core: the tokenizer; it is copied before it is changed unless `owned`. eos, special: further end-of-text and special tokens, as ids
    or names, beside those its file marks as special. width: the width of the model's logits, where it exceeds the vocabulary. bos: the
    token that begins a text. vocabulary: where it was worked out before.
    """

    def __init__(
        self,
        core: Any,
        *,
        eos: Iterable[TokenName] = (),
        special: Iterable[TokenName] = (),
        width: int | None = None,
        template: ChatTemplate | None = None,
        owned: bool = False,
        bos: TokenName | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        if vocabulary is not None:
            self.__dict__["vocabulary"] = vocabulary  # known already: nothing is worked out
        self._given = core
        self._owned = owned
        self._eos = [i for i in map(self._id, eos) if i is not None]
        self._special = [i for i in map(self._id, special) if i is not None]
        self._width = width
        self._template = template
        self._lock = threading.Lock()
        self.bos_id = None if bos is None else self._id(bos)

    def parts(self) -> tuple[str, dict[str, Any]]:
        """What another process needs to make this tokenizer again: its JSON, and the other arguments (a chat template excepted)."""
        return self._given.to_str(), {"eos": self._eos, "special": self._special, "width": self._width, "bos": self.bos_id}

    def _id(self, token: TokenName) -> int | None:
        return token if isinstance(token, int) else self._given.token_to_id(token)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens as bytes. A width below the tokenizer's size cuts the entries that the model cannot say."""
        tokens, special = token_bytes(self._given)
        width = len(tokens) if self._width is None else self._width
        tokens = tokens[:width] + [b""] * (width - len(tokens))
        quiet = [i for i in {*special, *self._special} if i < width]
        named = {text: i for i in quiet if (text := self._given.id_to_token(i)) is not None}
        return Vocabulary.build(tokens, [i for i in self._eos if i < width], quiet, named)

    @cached_property
    def lossless(self) -> bool:
        """Whether the tokens of a text always write exactly that text: nothing lower-cases, folds or drops characters."""
        folding = {step["type"] for step in flatten(self._given.normalizer, "normalizers")} - _LOSSY_NORMALIZERS_EXCEPT
        dropping = {step["type"] for step in flatten(self._given.pre_tokenizer, "pretokenizers")} & _LOSSY_SPLITTERS
        return not folding and not dropping and (unknown_id(self._given) is None or _has_all_bytes(self._given))

    @cached_property
    def marks_start(self) -> bool:
        """Whether the first token of a prompt writes a space that its text does not have (SentencePiece's dummy prefix)."""
        steps = flatten(self._given.normalizer, "normalizers") + flatten(self._given.pre_tokenizer, "pretokenizers")
        return any(_puts_space(step) for step in steps)

    @cached_property
    def _core(self) -> Any:
        """The tokenizer with special tokens in text switched off: `<|endoftext|>` in a text is plain characters."""
        from tokenizers import Tokenizer as Core

        core = self._given if self._owned else Core.from_str(self._given.to_str())
        return _plain(core)

    @cached_property
    def _continuing(self) -> Any:
        """The tokenizer for text in the middle of a prompt: without the space that some put before a whole text."""
        if not self.marks_start:
            return self._core
        from tokenizers import Tokenizer as Core

        spec = json.loads(self._core.to_str())
        _drop_dummy_prefix(spec)
        return _plain(Core.from_str(json.dumps(spec)))

    @cached_property
    def _prefix(self) -> list[int]:
        with self._lock:
            plain = list(self._core.encode("a", add_special_tokens=False).ids)
            whole = list(self._core.encode("a", add_special_tokens=True).ids)
        for start in range(len(whole) - len(plain) + 1):
            if plain and whole[start : start + len(plain)] == plain:
                return whole[:start]
        return []

    def prefix(self) -> list[int]:
        return list(self._prefix)

    def encode(self, text: str, *, first: bool) -> list[int]:
        core = self._core if first else self._continuing
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise LmqlError(f"text with a lone surrogate ({text[error.start : error.end]!a}) cannot be given to a model") from None
        with self._lock:
            return self._encode_plain(core, text)

    def _encode_plain(self, core: Any, text: str) -> list[int]:
        """Ids of a text; a special entry that the text would give is broken after its first character."""
        encoding = core.encode(text, add_special_tokens=False)
        ids: list[int] = encoding.ids
        if self._forbidden.isdisjoint(ids):
            return ids
        for token_id, (start, end) in zip(ids, encoding.offsets, strict=True):
            if token_id in self._forbidden and end - start > 1:
                return self._encode_plain(core, text[: start + 1]) + self._encode_plain(self._continuing, text[start + 1 :])
        return ids

    @cached_property
    def _forbidden(self) -> frozenset[int]:
        return self.vocabulary.special - {unknown_id(self._given)}

    def decode(self, ids: Sequence[int]) -> str:
        tokens = self.vocabulary.tokens
        return b"".join([tokens[i] for i in ids]).decode("utf-8", errors="replace")

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        if self._template is None:
            return None
        marked = self._template.render(messages, generation_prompt=generation_prompt, special=self._special_texts)
        return encode_chat(marked, self._special_texts, self._encode_template, self.encode)

    @cached_property
    def _special_texts(self) -> dict[str, int]:
        added = self._given.get_added_tokens_decoder()
        return {token.content: token_id for token_id, token in added.items() if token.special}

    def _encode_template(self, text: str) -> list[int]:
        """Ids of a text in which special tokens count, as written by a chat template."""
        with self._lock:
            core = self._core
            core.encode_special_tokens = False
            try:
                return list(core.encode(text, add_special_tokens=False).ids)
            finally:
                core.encode_special_tokens = True


def _has_all_bytes(core: Any) -> bool:
    """Whether a tokenizer falls back to bytes, and has all of them."""
    named = (f"<0x{value:02X}>" for value in range(256))
    return bool(getattr(core.model, "byte_fallback", False)) and all(core.token_to_id(name) is not None for name in named)


def _plain(core: Any) -> Any:
    """Switches off, in place, what would change, cut or pad a prompt, and special tokens in text."""
    core.no_truncation()
    core.no_padding()
    core.encode_special_tokens = True
    if getattr(core.model, "dropout", None) is not None:
        core.model.dropout = None  # random merges are for training
    return core


def _puts_space(step: dict[str, Any]) -> bool:
    return step["type"] == "Prepend" or any(step.get(key, value) != value for key, value in _NO_SPACE.items())


def _drop_dummy_prefix(part: Any) -> None:
    """Changes a tokenizer's JSON, in place, so that nothing puts a space before a text."""
    if isinstance(part, list):
        part[:] = [step for step in part if not (isinstance(step, dict) and step.get("type") == "Prepend")]
    members = part if isinstance(part, list) else [part[key] for key in _NESTED if part.get(key)]
    if isinstance(part, dict):
        if part.get("type") == "Prepend":
            part.clear()
            part.update(type="Sequence", normalizers=[])
        part.update({key: value for key, value in _NO_SPACE.items() if key in part})
    for member in members:
        _drop_dummy_prefix(member)


def vocabulary_of(tokenizer: Any, *, eos: Iterable[TokenName] | None = None, width: int | None = None) -> Vocabulary:
    """The vocabulary of anything `load_tokenizer` takes."""
    return load_tokenizer(tokenizer, eos=eos, width=width).vocabulary


def load_tokenizer(obj: Any, *, eos: Iterable[TokenName] | TokenName | None = None, width: int | None = None) -> Tokenizer:
    """A tokenizer from a model directory, a `tokenizer.json`, a `tokenizers.Tokenizer`, a transformers tokenizer, or a `Tokenizer`.

    eos: end-of-text tokens, as ids or names, beside those that the files name. width: width of the model's logits.
    Raises ModelNotFound for a path that holds no tokenizer, LmqlError for a damaged or unusable one, ValueError for an unknown `eos`.
    """
    ends: list[TokenName] = [] if eos is None else [eos] if isinstance(eos, (int, str)) else list(eos)
    if isinstance(obj, (str, Path)):
        return _from_path(Path(obj), ends, width)
    if isinstance(getattr(obj, "vocabulary", None), Vocabulary):
        return obj  # type: ignore[no-any-return]
    if hasattr(obj, "get_added_tokens_decoder"):
        return HFTokenizer(obj, eos=_known(obj, ends), width=width)
    if hasattr(obj, "convert_ids_to_tokens"):
        from lmqlc.backends.transformers_tokenizer import from_transformers

        return from_transformers(obj, eos=ends, width=width)
    raise LmqlError(f"a tokenizer is a model directory, a tokenizer.json or a tokenizer object, not {type(obj).__name__}")


def _known(core: Any, ends: list[TokenName]) -> list[TokenName]:
    for end in ends:
        if isinstance(end, str) and core.token_to_id(end) is None:
            raise ValueError(f"the tokenizer has no token {end!r}")
    return ends


def _from_path(path: Path, ends: list[TokenName], width: int | None) -> Tokenizer:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not path.exists():
        raise ModelNotFound(f"no tokenizer at {str(path)!r}: name a model directory or a tokenizer.json")
    if not file.exists():
        from lmqlc.backends.transformers_tokenizer import from_directory

        return from_directory(path, eos=ends, width=width)
    core = read_core(file)
    facts: TokenizerFacts = read_facts(file.parent)
    known = [*facts.eos, *_known(core, ends)]
    return HFTokenizer(core, eos=known, special=facts.special, width=width, template=facts.template, owned=True, bos=facts.bos)


def read_core(file: Path) -> Any:
    """A `tokenizers.Tokenizer` from its file. Raises LmqlError where the file is none."""
    from tokenizers import Tokenizer as Core

    try:
        return Core.from_str(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LmqlError(f"cannot read the tokenizer {str(file)!r}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - the package raises plain Exception for whatever it cannot read
        raise LmqlError(f"{str(file)!r} is no tokenizer that can be read: {error}") from None

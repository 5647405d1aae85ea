"""What the words of the language mean, for completion and hover. The language reference is docs/language.md."""

from __future__ import annotations

from collections.abc import Mapping

from lmqlc.compiler.constraint_calls import CALLS
from lmqlc.compiler.decoder_options import COMMON, DECODERS

CONSTRAINTS: Mapping[str, str] = {
    "FLOAT": "The text is a JSON number; the value becomes a `float`.",
    "GRAMMAR": "The text is in the language of a grammar in Lark's notation. Checked token by token (needs the extra `schema`).",
    "INT": "The text is a decimal integer; the value becomes an `int`. `0 < int(X) < 10` bounds it.",
    "JSON": "The text is valid JSON, or JSON that meets a schema.",
    "REGEX": "The whole text matches a regular expression, as `re.fullmatch` has it. Exact.",
    "SENTENCES": "The sentences of the text, to be counted: `len(SENTENCES(X)) <= 2`. A sentence ends at a run of `.`, `!`, `?`.",
    "STOPS_AT": "Decoding ends once the text ends with the phrase and the rest of the constraint holds. The phrase stays in the text.",
    "STOPS_BEFORE": "Decoding ends once the text ends with the phrase and the rest of the constraint holds. The phrase is cut off.",
    "TOKENS": "The tokens of the text, to be counted: `len(TOKENS(X)) < 20`. Exact: the text still ends validly at the bound.",
    "WORDS": "The words of the text, split on white space, to be counted: `len(WORDS(X)) < 10`.",
}
_COUNTED = ("SENTENCES", "TOKENS", "WORDS")

METHODS: Mapping[str, str] = {
    "startswith": "The text begins with a string, or with one of a tuple of them.",
    "endswith": "The text ends with a string, or with one of a tuple of them.",
    "isdigit": "All characters are digits, and there is one.",
    "isalpha": "All characters are letters, and there is one.",
    "isalnum": "All characters are letters or digits, and there is one.",
    "isupper": "All cased characters are upper case, and there is one.",
    "islower": "All cased characters are lower case, and there is one.",
}

CLAUSES: Mapping[str, str] = {
    "where": "The constraint that the holes of the query string meet: a condition over `and`, `or`, `not` that always holds.",
    "distribution": "How likely each of several options is for a hole: `distribution X in OPTIONS`. The hole is the last of the program.",
    "from": 'The model of the whole query: a string such as `"local:gpt2"`, or what `lmql.model(…)` gives.',
}

DECODER_TEXTS: Mapping[str, str] = {
    "argmax": "The likeliest text where few may fill a hole, else the likeliest token at every step.",
    "sample": "Tokens drawn by their probabilities; `n` branches side by side.",
    "beam": "Beam search: the `n` likeliest beginnings go on at every step.",
    "beam_sample": "Beam search that draws its beams.",
    "var": "Beams that branch over whole holes: `b` continuations of each hole, the `n` likeliest stay.",
    "beam_var": "Beam search within holes, the likeliest stay after each.",
    "best_k": "The `k` likeliest continuations of each hole.",
}

ARGUMENTS: Mapping[str, str] = {
    "backend": '"legacy" selects the legacy inference API',
    "b": "continuations of each hole",
    "budget": "calls of the model after which the search ends",
    "cache": "False: the model forgets what earlier queries had it read",
    "chunk_timeout": "seconds without a token from a server before the request is made again",
    "chunksize": "tokens that a server sends together",
    "fast_forward": "whether text that the constraint leaves no choice about is written without asking the model",
    "frequency_penalty": "taken off for every time a token stands in the text already",
    "greedy": "True: token by token, also where few texts may fill a hole",
    "k": "continuations that are kept",
    "length_penalty": "how beams of different lengths are compared",
    "max_len": "the most tokens of prompt and output together",
    "max_tokens": "the most tokens of a hole",
    "max_total_tokens": "the most tokens of all holes of the run together",
    "min_p": "the least probability of a token, as a share of the likeliest one's",
    "n": "how many branches or beams",
    "presence_penalty": "taken off once for a token that stands in the text already",
    "repetition_penalty": "how much less likely tokens become that stand in the text already",
    "score_by": "how texts of different lengths are compared",
    "seed": "for the same draws every time",
    "temperature": "0 is argmax, 1 the model's own distribution",
    "timeout": "seconds that the whole query may take",
    "token_healing": "whether the first token of a hole may cover the end of the prompt",
    "top_k": "draw from the k likeliest tokens",
    "top_p": "draw from the likeliest tokens that have this probability together",
    "verbose": "True: a line on standard error for every hole",
    "width": "tokens that are tried at every step",
}

TYPES = ("str", "int", "float", "bool", "list[str]", "list[int]", "dict[str, str]", "tuple[str, int]", 'Literal["a", "b"]', "datetime.date")
ROLES: Mapping[str, str] = {
    "system": "Begins the turn that tells the model how to behave.",
    "user": "Begins a turn of the user.",
    "assistant": "Begins a turn of the model.",
}
MODELS: Mapping[str, str] = {
    '"demo"': "The small embedded model, for trying things out.",
    '"local:gpt2"': "A transformers model in this process, by its name or path.",
    '"openai/gpt-4o-mini"': "A model behind an API in the form of OpenAI's.",
    'lmql.model("gpt2", endpoint="localhost:8080")': "A model on a server.",
    'lmql.inprocess("gpt2", cuda=True)': "A transformers model in this process, on a GPU.",
}


def usage(name: str) -> str:
    """How a constraint is written."""
    return f"len({name}(X)) < n" if name in _COUNTED else CALLS[name].usage(name)


def arguments_of(decoder: str) -> dict[str, str]:
    """The arguments of a decoder, each with what it is and what its values are; those of every decoder where it is unknown."""
    kinds = {**DECODERS.get(decoder, {}), **COMMON}
    return {name: f"{ARGUMENTS[name]}: {kind.words}" if name in ARGUMENTS else kind.words for name, kind in kinds.items()}


def decoder_usage(decoder: str) -> str:
    """A decoder with its own arguments."""
    own = ", ".join(DECODERS.get(decoder, {}))
    return f"{decoder}({own}{', ' if own else ''}…)"


def describe(word: str) -> str | None:
    """A word of the language in Markdown; None where it is none."""
    if word in CONSTRAINTS:
        return f"```lmql\n{usage(word)}\n```\n{CONSTRAINTS[word]}"
    if word in DECODER_TEXTS:
        rows = "\n".join(f"- `{name}`: {text}" for name, text in arguments_of(word).items())
        return f"```lmql\n{decoder_usage(word)}\n```\n{DECODER_TEXTS[word]}\n\n{rows}"
    return CLAUSES.get(word)

"""Forty questions in four spellings: is the answer the one that the model itself finds likeliest? `python -m tests.real.questions`

The judge is transformers alone: the log-probability of the tokenizer's own tokens of an option behind the prompt. Where an option begins
another, what the model would go on with into the other one is taken off, as the language defines it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmqlc
from tests.real.engines import ENGINES, available, folder

REVIEWS = "Review: I loved every minute of it.\nSentiment: positive\n\nReview: A waste of money.\nSentiment: negative\n\n"
YES_NO = "Q: Is the sky blue?\nA: yes\n\nQ: Is snow black?\nA: no\n\n"

QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("The capital of France is", ("Rome", "Paris", "Berlin", "Madrid")),
    ("The capital of Italy is", ("Rome", "Paris", "Berlin", "Madrid")),
    ("The capital of Japan is", ("Kyoto", "Tokyo", "Osaka")),
    ("The capital of Australia is", ("Sydney", "Melbourne", "Canberra")),
    ("The capital of Brazil is", ("Rio de Janeiro", "Brasilia", "Sao Paulo")),
    ("The Empire State Building stands in", ("New York", "New York City", "Newark")),
    ("The largest city of the United States is", ("New York", "New York City", "Los Angeles", "Chicago")),
    ("The opposite of hot is", ("cold", "warm", "cool")),
    ("The opposite of up is", ("down", "downwards", "left")),
    ("Fire is", ("hot", "cold", "wet")),
    ("Grass is usually", ("green", "grey", "great", "red")),
    ("A banana is", ("yellow", "yellowish", "blue")),
    ("Water freezes at", ("zero", "ten", "one hundred")),
    ("The colour of blood is", ("red", "reddish brown", "blue")),
    ("A baby dog is called a", ("puppy", "pup", "kitten", "pupil")),
    ("The animal that says meow is the", ("cat", "caterpillar", "cattle", "dog")),
    ("The first month of the year is", ("January", "June", "July", "Jan")),
    ("The day after Monday is", ("Tuesday", "Thursday", "Sunday")),
    ("Two plus two is", ("four", "fourteen", "five", "forty")),
    ("The square root of nine is", ("three", "thirty", "nine")),
    ("The author of Hamlet is", ("William Shakespeare", "Charles Dickens", "Shakespeare")),
    ("The planet closest to the sun is", ("Mercury", "Mars", "Venus")),
    ("The largest planet is", ("Jupiter", "Saturn", "Earth")),
    ("The chemical symbol of gold is", ("Au", "Ag", "Gold", "Go")),
    ("People who bake bread are called", ("bakers", "bankers", "butchers")),
    ("In winter it is often", ("cold", "colder", "hot")),
    ("She opened the door with a", ("key", "keyboard", "knife")),
    ("He wrote the letter with a", ("pen", "pencil", "penguin")),
    (REVIEWS + "Review: The food was cold and the waiter was rude.\nSentiment:", ("positive", "negative", "neutral")),
    (REVIEWS + "Review: Wonderful, we will come back!\nSentiment:", ("positive", "negative", "neutral")),
    (REVIEWS + "Review: It broke on the first day.\nSentiment:", ("positive", "negative")),
    (YES_NO + "Q: Is fire hot?\nA:", ("yes", "no")),
    (YES_NO + "Q: Is ice warm?\nA:", ("yes", "no")),
    ("Statement: Paris lies in France. True or false? Answer:", ("true", "false")),
    ("Statement: Cats are plants. True or false? Answer:", ("True", "False")),
    ("Language of 'Guten Morgen':", ("German", "French", "English", "Germanic")),
    ("Language of 'Buenos dias':", ("Spanish", "Italian", "Portuguese")),
    ("Topic of 'The striker scored twice in the final':", ("sports", "politics", "science", "sport")),
    ("Topic of 'The parliament passed the bill':", ("sports", "politics", "political science")),
    ("English: thank you, French:", ("merci", "merci beaucoup", "bonjour")),
)


@dataclass(frozen=True)
class Judge:
    """The model by transformers alone."""

    model: Any
    tokenizer: Any

    def logprob_rows(self, ids: Sequence[int]) -> Any:
        """Natural log-probabilities float32[len(ids), V] of what follows each id."""
        import torch

        with torch.no_grad():
            return torch.log_softmax(self.model(torch.tensor([list(ids)])).logits[0].float(), dim=-1)

    def likeliest(self, prompt: str, options: Sequence[str]) -> tuple[str, float]:
        """The likeliest option behind the prompt and a space, and by how much it leads, in nats."""
        before = self.tokenizer(prompt).input_ids
        ids = {option: self.tokenizer(f"{prompt} {option}").input_ids for option in options}
        scores = {}
        for option, all_ids in ids.items():
            assert all_ids[: len(before)] == before, (prompt, option)
            rows = self.logprob_rows(all_ids)
            score = sum(float(rows[at - 1, all_ids[at]]) for at in range(len(before), len(all_ids)))
            longer = {other[len(all_ids)] for other in ids.values() if len(other) > len(all_ids) and other[: len(all_ids)] == all_ids}
            if longer:
                score += math.log1p(-sum(math.exp(float(rows[-1, token])) for token in longer))
            scores[option] = score
        first, second = sorted(scores, key=lambda option: -scores[option])[:2]
        return first, scores[first] - scores[second]


def spellings(options: Sequence[str]) -> dict[str, str]:
    """Programs that ask for one of some options, by the name of the spelling; the prompt is their argument."""
    spaced, bare = [f" {option}" for option in options], list(options)
    pattern = " (" + "|".join(options) + ")"
    either = " or ".join(f"X == {option!r}" for option in spaced)
    return {
        "in": f'"{{prompt}}[X]" where X in {spaced!r}',
        "space before": f'"{{prompt}} [X]" where X in {bare!r}',
        "regex": f'"{{prompt}}[X]" where REGEX(X, {pattern!r})',
        "or": f'"{{prompt}}[X]" where {either}',
        "literal": f'from typing import Literal\n"{{prompt}} [X: Literal[{", ".join(map(repr, bare))}]]"',
    }


SPELLINGS = ("in", "space before", "regex", "literal")


def judge(weights: Path) -> Judge:
    """The judge with the weights of the folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(weights / "gemma")
    return Judge(AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(where))


def differing(model: Any, right: Sequence[tuple[str, float]]) -> dict[str, list[tuple[str, str, str, float]]]:
    """By spelling, the questions whose answer is not the likeliest: prompt, answer, likeliest, its lead."""
    found: dict[str, list[tuple[str, str, str, float]]] = {name: [] for name in SPELLINGS}
    for (prompt, options), (best, lead) in zip(QUESTIONS, right, strict=True):
        programs = spellings(options)
        for name in SPELLINGS:
            said = lmqlc.run_sync(programs[name], prompt=prompt, model=model).holes[0].text.strip()
            if said != best:
                found[name].append((prompt[-50:], said, best, lead))
    return found


def main() -> None:
    """Print the differing answers for every engine that the folder has."""
    weights = folder()
    if weights is None:
        raise SystemExit("set LMQLC_REAL to the folder that `python -m tests.real.prepare FOLDER` makes")
    asked = judge(weights)
    right = [asked.likeliest(prompt, options) for prompt, options in QUESTIONS]
    for engine in sys.argv[1:] or ("inprocess", "served"):
        if not available(engine, weights):
            print(f"{engine}: not in {weights}")
            continue
        with ENGINES[engine](weights) as model:
            found = differing(model, right)
        print(f"{engine}: " + ", ".join(f"{name}: {len(found[name])} of {len(QUESTIONS)}" for name in SPELLINGS))
        for name, rows in found.items():
            for prompt, said, best, lead in rows:
                print(f"    {name}: …{prompt!r}: {said!r}, likeliest {best!r} by {lead:.3f}")


if __name__ == "__main__":
    main()

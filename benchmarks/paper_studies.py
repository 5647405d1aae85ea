"""The four studies of `benchmarks.paper`: their items, what the model writes, and what the baselines need to know of them.

`paper_items/NAME.lmql` is our program, `NAME.json` holds worked examples (`shots`) and items. What is `written` of an item is what program
and model write together after the question; the baselines let the model write all of it.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ITEMS = Path(__file__).with_name("paper_items")
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv,
}  # fmt: skip

Item = Mapping[str, Any]


def calculate(expression: str) -> int:
    """The calculator: one operation on whole numbers."""
    tree = ast.parse(expression.strip(), mode="eval").body
    assert isinstance(tree, ast.BinOp)
    left, right = ast.literal_eval(tree.left), ast.literal_eval(tree.right)
    return int(OPERATORS[type(tree.op)](left, right))


@dataclass(frozen=True)
class Study:
    """One case study.

    question: the lines before what is written, for items and shots alike. cut, stops: where baselines cut, as a pattern whose match is
    kept, and as the phrases a server would stop at. tool: what follows a cut, None where the answer is done. hole_stops: for each hole of
    our program, the phrases at which a server ends a request for it. scored: the hole whose options are scored.
    """

    name: str
    question: Callable[[Item], str]
    written: Callable[[Item], str]
    cut: re.Pattern[str]
    stops: Sequence[str]
    hole_stops: Mapping[str, Sequence[str]]
    tool: Callable[[Item, str], str | None] = lambda item, text: None
    scored: str | None = None
    options: Callable[[Item], list[str]] = lambda item: []
    arguments: Callable[[Item], dict[str, Any]] = dict
    answer: Callable[[Item], str] = lambda item: str(item["answer"])
    read: dict[str, Any] = field(default_factory=dict)

    @property
    def program(self) -> Path:
        return ITEMS / f"{self.name}.lmql"

    def data(self) -> dict[str, Any]:
        """The study's file; `pages` are put into every item."""
        if not self.read:
            self.read.update(json.loads((ITEMS / f"{self.name}.json").read_text(encoding="utf-8")))
            for item in [*self.read["shots"], *self.read["items"]]:
                item["pages"] = self.read.get("pages", {})
        return self.read

    def shots(self) -> str:
        """The worked examples, whole."""
        return "".join(self.question(shot) + self.written(shot) + "\n\n" for shot in self.data()["shots"])

    def prompt(self, item: Item) -> str:
        """What a baseline starts with."""
        return self.shots() + self.question(item)

    def script(self, item: Item) -> dict[str, str]:
        """What the model says after the question: the answer, and then, as models do, another question and its answer."""
        items = self.data()["items"]
        other = items[(items.index(item) + 1) % len(items)]
        return {self.question(item): self.written(item) + "\n\n" + self.question(other) + self.written(other)}


def _odd_written(item: Item) -> str:
    lines = "".join(f"{word} is {kind}\n" for word, kind in zip(item["words"], item["kinds"], strict=True))
    return f"{lines}So the odd one is {item['answer']}."


def _date_question(item: Item) -> str:
    options = "".join(f" {letter} {option}" for letter, option in zip(_letters(item), item["options"], strict=True))
    return f"Question: {item['question']}\nOptions:{options}\nAnswer: Let us work it out step by step.\n"


def _letters(item: Item) -> list[str]:
    return [f"({letter})" for letter in "ABCDEF"[: len(item["options"])]]


def _date_written(item: Item) -> str:
    return (
        f"We are told that {item['given']}\nToday is therefore the {item['today']}\nThe day we are asked about is {item['asked']}\n"
        f"Counting the days, we find that {item['count']}\nThe date we are looking for is the {item['date']}\n"
        f"So among the options it is {item['answer']}."
    )


def _react_written(item: Item) -> str:
    lines = []
    for i, (mode, *rest) in enumerate(item["steps"], 1):
        lines.append(f"Tho {i}: {rest[0]}" if mode == "Tho" else f"Act {i}: {rest[0]} '{rest[1]}'")
        if rest[0] == "Search":
            lines.append(f"Obs {i}: {item['pages'][rest[1]]}")
    return "\n".join(lines)


def _react_tool(item: Item, text: str) -> str | None:
    number, action, subject = re.findall(r"Act (\d+): (\w+) '(.*)'\n", text)[-1]
    return None if action == "Finish" else f"Obs {number}: {item['pages'][subject]}\n"


def _arithmetic_written(item: Item) -> str:
    steps = "".join(f"{words}<<{expression}= {calculate(expression)} >> " for words, expression in item["steps"])
    return f"{steps}{item['end']}\nSo the answer is {item['result']}."


def _arithmetic_tool(item: Item, text: str) -> str | None:
    return f" {calculate(text.rsplit('<<', 1)[1][:-1])} >>" if text.endswith("=") else None


STUDIES = (
    Study(
        "odd_one_out",
        question=lambda item: f"Pick the odd word out: {', '.join(item['words'])}.\n",
        written=_odd_written,
        cut=re.compile("So the odd one is"),
        stops=("So the odd one is",),
        hole_stops={"KIND": ("\n",)},
        scored="RESULT",
        options=lambda item: [f" {word}" for word in item["words"]],
        arguments=lambda item: {"words": item["words"]},
        answer=lambda item: f" {item['answer']}",
    ),
    Study(
        "date_understanding",
        question=_date_question,
        written=_date_written,
        cut=re.compile("So among the options it is"),
        stops=("So among the options it is",),
        hole_stops=dict.fromkeys(("GIVEN", "TODAY", "ASKED", "COUNT", "DATE"), ("\n",)),
        scored="RESULT",
        options=lambda item: [f" {letter}" for letter in _letters(item)],
        arguments=lambda item: {"question": item["question"], "options": item["options"]},
        answer=lambda item: f" {item['answer']}",
    ),
    Study(
        "react",
        question=lambda item: f"{item['question']}\n",
        written=_react_written,
        cut=re.compile(r"Act \d+: \w+ '.*'\n"),
        stops=("'\n",),
        hole_stops={"MODE": (" ",), "THOUGHT": ("\n",), "ACTION": (" '",), "SUBJECT": ("'",)},
        tool=_react_tool,
        arguments=lambda item: {"question": item["question"], "pages": item["pages"]},
        answer=lambda item: f"{item['answer']}'",
    ),
    Study(
        "arithmetic",
        question=lambda item: f"Q: {item['question']}\nA: Let us think step by step.\n",
        written=_arithmetic_written,
        cut=re.compile(r"<<[^=]*=|So the answer is \d+\."),
        stops=("=", ".\n\n"),
        hole_stops={"STEP": ("<<", "So the answer is"), "EXPRESSION": ("=",), "RESULT": (".",)},
        tool=_arithmetic_tool,
        arguments=lambda item: {"question": item["question"], "calculate": calculate},
        answer=lambda item: str(item["result"]),
    ),
)


def all_texts() -> list[str]:
    """Everything that stands in any study."""
    return [study.question(item) + study.written(item) for study in STUDIES for item in [*study.data()["shots"], *study.data()["items"]]]

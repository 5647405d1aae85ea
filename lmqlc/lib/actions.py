"""Models that call Python functions: inline in what they write (`inline_use`), or step by step (`reAct`).

    from lmql.lib.actions import inline_use, reAct, calc, lookup

    "Q: How old is someone born in 1970 in the year 2024?\\nA:[ANSWER: inline_use([calc])]"

Functions may be asynchronous; a list of them, or a dictionary by name. What a model writes as a call is held to be one: the name of a
function that there is, arguments of the types that its signature names, optional ones as keywords. Results are inert text on one line; an
exception of a function is told to the model as text. Step-by-step reasoning is that of Yao et al. 2022 (https://arxiv.org/abs/2210.03629).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmqlc.lib.tools import Call, Tool, calc, lookup, tools_of, use, value_of  # noqa: F401 - the programs use them
from lmqlc.queries import query

__all__ = ["Call", "Tool", "calc", "call_of", "inline_use", "lookup", "reAct", "tools_of", "use"]

OPENS, BAR, CLOSES = "<<", " | ", ">>"
"""How a call stands in a text: `<<calc("3 * 4") | 12>>`."""
FINISH = "finish"
NEVER = "\0"
"""A stop where there is none: what no model writes."""


def inline_instructions(tools: dict[str, Tool]) -> str:
    """What a model is told about calls in its text."""
    known = "\n".join(f"- {tool.description}" for tool in tools.values())
    return (
        f"Functions can be called in the middle of a text, where their result helps:\n{known}\n"
        f'A call is written like {OPENS}name("an argument", 2){BAR}its result{CLOSES}; the result is filled in.\n\n'
    )


def step_instructions(tools: dict[str, Tool]) -> str:
    """What a model is told about thoughts and actions."""
    known = "\n".join(f"- {tool.description}" for tool in tools.values())
    return f"Answer in steps: a thought, then an action, whose result is the observation. The actions are:\n{known}\n\n"


def finish_of(answer: Any) -> dict[str, Tool]:
    """The action that ends with an answer of a type."""

    def finish(answer: Any) -> Any:
        """Ends with the answer."""
        return answer

    finish.__annotations__ = {"answer": answer}
    return tools_of({FINISH: finish})


@query
def call_of(tools: dict[str, Tool]) -> Any:
    r"""lmql
    "[FUNCTION](" where FUNCTION in list(tools)
    tool, given = tools[FUNCTION], {}
    left = list(tool.optional)

    def argument(parameter):
        if parameter.type is str:
            '"[TEXT]"' where REGEX(TEXT, r'(?:[^"\\\n]|\\["\\/bfnrt])*')
            return value_of(TEXT)
        "[VALUE: parameter.type]" where STOPS_BEFORE(VALUE, [",", ")"])
        return VALUE

    for number, parameter in enumerate(tool.required):
        if number > 0:
            ", "
        given[parameter.name] = argument(parameter)
    while left:
        comma = ", " if given else ""
        choices = {f"{comma}{parameter.name}=": parameter for parameter in left}
        "[NEXT]" where NEXT in [")", *choices]
        if NEXT == ")":
            break
        chosen = choices[NEXT]
        left.remove(chosen)
        given[chosen.name] = argument(chosen)
    return Call(tool, given)
    """


@query
def inline_use(functions: Any, *, calls: int = 8, until: str | Sequence[str] = "\n\n", instruct: bool = True) -> Any:
    """lmql
    tools, said = tools_of(functions), ""
    stops = [phrase for phrase in ([until] if isinstance(until, str) else until) if phrase]
    if instruct:
        "{inline_instructions(tools)}"
    for left in range(calls, -1, -1):
        if left == 0:
            "[TEXT]" where not OPENS in TEXT and STOPS_BEFORE(TEXT, stops or [NEVER])
        else:
            "[TEXT]" where STOPS_AT(TEXT, OPENS) and STOPS_BEFORE(TEXT, stops or [NEVER])
        said += TEXT
        if left == 0 or not TEXT.endswith(OPENS):
            break
        "[CALL: call_of(tools)]{BAR}"
        result = use(CALL)
        "{result}{CLOSES}"
        said += f"{CALL}{BAR}{result}{CLOSES}"
    return said
    """


@query
def reAct(functions: Any, *, steps: int = 8, answer: Any = str, keep: bool = False, instruct: bool = True) -> Any:
    r"""lmql
    finish = finish_of(answer)
    tools = {**tools_of(functions), **finish}
    if instruct:
        "{step_instructions(tools)}"
    for left in range(steps, -1, -1):
        "Thought:[THOUGHT]\n" where STOPS_BEFORE(THOUGHT, "\n")
        "Action: [CALL: call_of(tools if left > 0 else finish)]\n"
        if CALL.tool.name == FINISH:
            break
        result = use(CALL)
        "Observation: {result}\n"
    if not keep:
        return CALL.arguments["answer"]
    """

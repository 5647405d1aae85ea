"""`lmqlc new`: a project to start from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from lmqlc.grammar.errors import LmqlError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")

_QUERY = """\
# Asks for the capital of a country, which is the query's argument:
#   lmqlc run capital.lmql --arg country=France
#
# test: knows the capital of Japan
#   args: country="Japan"
#   assert CAPITAL == "Tokyo"
#
# test: asks what it should ask, whatever the model says
#   args: country="Spain"
#   says: "Paris\\n"
#   assert prompt == "Q: What is the capital of Spain?\\nA: Paris"
"Q: What is the capital of {country}?\\n"
"A: [CAPITAL]" where STOPS_BEFORE(CAPITAL, "\\n") and len(TOKENS(CAPITAL)) < 10
return CAPITAL
"""

_PROJECT = """\
[project]
name = "@NAME@"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["lmqlc"]

[tool.lmqlc]
model = "demo"  # the small embedded model; "local:gpt2" is one of transformers, "openai/gpt-4o-mini" one behind an API
"""

_README = """\
# @NAME@

```sh
lmqlc run capital.lmql --arg country=France    # run the query
lmqlc test                                     # run the tests that stand in it
lmqlc check capital.lmql                       # find errors without running anything
lmqlc fmt .                                    # lay the queries out
lmqlc explain capital.lmql                     # what may fill each hole
```

`capital.lmql` is the query: prompt text, a hole that the model fills, and a constraint on it. `pyproject.toml` names the model.
`lmqlc test --record` keeps what a model says, so that later tests run without it.
"""

FILES = {"capital.lmql": _QUERY, "pyproject.toml": _PROJECT, "README.md": _README}


def new_command(name: str) -> None:
    """Make a folder with a query, its tests, a pyproject.toml and a README. Raises LmqlError where something is in the way."""
    folder = Path(name)
    project = folder.resolve().name
    if not _NAME.fullmatch(project):
        raise click.BadParameter(f"{project!r} is no name of a project: letters, digits, `.`, `-` and `_`", param_hint="NAME")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise LmqlError(f"the folder {name!r} is not empty; nothing was written")
        for file, text in FILES.items():
            (folder / file).write_text(text.replace("@NAME@", project), encoding="utf-8")
    except OSError as error:
        raise LmqlError(f"cannot make {name!r}: {error.strerror or error}") from None
    print(f"made {name}: {', '.join(FILES)}", file=sys.stderr)
    inside = "" if folder.resolve() == Path.cwd() else f"cd {name}; "
    print(f"try it:  {inside}lmqlc run capital.lmql --arg country=France; lmqlc test", file=sys.stderr)

"""`lmqlc completion`: a script that teaches a shell to complete our command lines."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAMS = ("lmqlc", "lmql")
VARIABLE = "_LMQLC_COMPLETE"
"""Set by the script when it asks for completions; `click` reads it."""
FILES = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/completions/lmqlc.fish"}


def completion_command(shell: str, cli: click.Command) -> None:
    """Print the script, for both names of the program."""
    made = get_completion_class(shell)
    assert made is not None, "click knows the shells that the command line offers"
    how = 'eval "$(lmqlc completion {})"' if shell != "fish" else "lmqlc completion {} | source"
    print(f"# put this line into {FILES[shell]}:  {how.format(shell)}")
    for program in PROGRAMS:
        completion = made(cli, {}, program, VARIABLE)
        print(completion.source_template % completion.source_vars())

"""The command line's entry: as little as possible before it is known what is wanted."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the process's exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given in (["--version"], ["-V"]):
        from lmqlc import __version__

        print(f"lmqlc {__version__}")
        return 0
    from lmqlc.cli import run_cli

    return run_cli(given)


if __name__ == "__main__":
    sys.exit(main())

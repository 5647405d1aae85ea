"""The command line's tools around programs: options and help. As in `cli`, the work is in modules of its own."""

from __future__ import annotations

from collections.abc import Sequence

import click

from lmqlc.configuration import Configuration

SECTIONS = {
    "Programs": ("run", "check", "compile", "explain"),
    "Writing them": ("new", "fmt", "test", "lsp"),
    "Serving": ("serve-model", "serve-query"),
    "This installation": ("doctor", "cache", "completion"),
}


class Sections(click.Group):
    """A group whose help lists commands by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; commands that are in none stand in the last one."""
        listed = {name for names in SECTIONS.values() for name in names}
        others = [name for name in self.list_commands(ctx) if name not in listed]
        for title, names in {**SECTIONS, "Others": others}.items():
            rows = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(limit=80)) for name, command in rows])


@click.command(
    short_help="Start a project: a query, its tests, settings.",
    epilog="""\b
Example:
  lmqlc new capitals; cd capitals; lmqlc run capital.lmql --arg country=France; lmqlc test
""",
)
@click.argument("name", type=click.Path())
def new(name: str) -> None:
    """Make the folder NAME with a query that runs at once on the embedded demo model, its tests, a pyproject.toml and a README."""
    from lmqlc.new_command import new_command

    new_command(name)


@click.command(
    short_help="Lay programs out.",
    epilog="""\b
Examples:
  lmqlc fmt packing.lmql               rewrites the file
  lmqlc fmt .                          every .lmql file below this folder
  lmqlc fmt --check --diff examples/   shows what would change, and exits with 1 where something would
  lmqlc fmt - < packing.lmql           standard input to standard output
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
@click.option("--line-length", "width", type=click.IntRange(40, 1000), metavar="N", help="Characters of a line. Default: 120.")
@click.pass_obj
def fmt(configuration: Configuration, files: tuple[str, ...], check: bool, diff: bool, width: int | None) -> int:
    """Lay out FILES: query strings, holes, clauses and headers. Python statements, comments and prompt text stay as they are."""
    from lmqlc.fmt_command import fmt_command

    return fmt_command(files, check=check, diff=diff, width=width or configuration.number("line-length"))


@click.command(
    short_help="Run the tests of queries.",
    epilog="""\b
Examples:
  lmqlc test                           every query with tests below this folder
  lmqlc test capital.lmql -k Japan     those tests of a file whose names hold "Japan"
  lmqlc test --record --model local:gpt2
                                       run on a model, and keep what it says: later runs need no model

\b
A test stands in comments of its query:
  # test: knows the capital of Japan
  #   args: country="Japan"
  #   assert CAPITAL == "Tokyo"
""",
)
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("-k", "pattern", metavar="TEXT", help="Only tests whose names hold TEXT.")
@click.option("--model", metavar="M", help="The model of all tests that give no texts; goes before what they name.")
@click.option("--record", is_flag=True, help="Run on the model, and keep what it says in cassettes/ beside the query.")
@click.option("--live", is_flag=True, help="Run on the model, whatever was recorded.")
@click.option("-v", "--verbose", is_flag=True, help="Show times, and what programs print.")
@click.pass_obj
def test(
    configuration: Configuration, paths: tuple[str, ...], pattern: str | None, model: str | None, record: bool, live: bool, verbose: bool
) -> int:
    """Run the tests of queries in PATHS (files and folders; default: this folder)."""
    from lmqlc.testing.command import run_tests
    from lmqlc.testing.running import Choices

    if record and live:
        raise click.UsageError("--record runs on the model already; leave --live out")
    choices = Choices(model, configuration.text("test-model"), "record" if record else "live" if live else "replay")
    return run_tests(paths, choices, pattern=pattern, verbose=verbose)


@click.command(
    short_help="Run the language server for editors.",
    epilog="""\b
Examples:
  lmqlc lsp                      speaks the Language Server Protocol on standard input and output
  lmqlc lsp --log lsp.log        also says what it does, in a file
""",
)
@click.option("--log", metavar="FILE", type=click.Path(dir_okay=False), help="Where to say what happens.")
def lsp(log: str | None) -> None:
    """Run the language server; editors start it. Needs the extra: pip install 'lmqlc[lsp]'."""
    from lmqlc.lsp_command import lsp_command

    lsp_command(log)


@click.command(
    "serve-query",
    short_help="Put a query behind HTTP.",
    epilog="""\b
Examples:
  lmqlc serve-query capital.lmql --model local:gpt2
  curl localhost:8000/run -H "Content-Type: application/json" -d '{"country": "France"}'
  curl localhost:8000/run -H "Content-Type: application/json" -H "Accept: text/event-stream" -d '{"country": "France"}'
""",
)
@click.argument("query", type=click.Path())
@click.option("--model", metavar="M", help="The model; goes before the program's own `from`.")
@click.option("--decoder", metavar="D", help="The decoder; goes before the header.")
@click.option("--host", default="localhost", show_default=True, help="The address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 chooses a free one.")
@click.option("--api-key", metavar="KEY", help="A key that clients must have. Default: LMQL_API_KEY; none where that is not set.")
@click.option("--timeout", "seconds", default=120.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Seconds of one run.")
@click.option("--running", default=16, show_default=True, type=click.IntRange(1), help="Runs at one time.")
@click.option("--waiting", default=128, show_default=True, type=click.IntRange(0), help="Runs that may wait; more are told to come again.")
@click.option("--body", default=1 << 20, show_default=True, type=click.IntRange(2), help="Bytes of a request.")
@click.option("--drain", default=30.0, show_default=True, type=click.FloatRange(0), help="Seconds for what is under way at the end.")
def serve_query(query: str, model: str | None, decoder: str | None, host: str, port: int, api_key: str | None, **bounds: float) -> None:
    """Serve QUERY (a .lmql or .lmqlc file): POST /run takes its arguments as JSON, and gives its result as JSON, or its events as they
    happen. Clients give arguments, nothing else."""
    from lmqlc.serve_query_command import serve_query_command

    serve_query_command(query, model=model, decoder=decoder, host=host, port=port, api_key=api_key, bounds=bounds)


@click.command(short_help="Look at this installation.", epilog="\b\nExamples:\n  lmqlc doctor\n  lmqlc doctor --json\n")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def doctor(configuration: Configuration, as_json: bool) -> int:
    """Show versions, devices, settings, caches, and whether servers can be reached; exit with 1 where something is wrong, with 3 where the
    server of the default model does not answer."""
    from lmqlc.doctor_command import doctor_command

    return doctor_command(configuration, as_json=as_json)


@click.group(short_help="Show or empty the cache on disk.", invoke_without_command=True)
@click.option("--clear", is_flag=True, help="Delete what is kept; the same as `lmqlc cache clear`.")
@click.pass_context
def cache(ctx: click.Context, clear: bool) -> None:
    """Show the folder in which compiled constraints are kept, and how much it holds."""
    from lmqlc.cache_command import cache_command

    if ctx.invoked_subcommand is None:
        cache_command(clear=clear)
    elif clear:
        raise click.UsageError("--clear stands alone")


@cache.command("ls", short_help="Show the folder and what it holds.")
def cache_ls() -> None:
    """Show the folder, and how much it holds."""
    from lmqlc.cache_command import cache_command

    cache_command()


@cache.command("clear", short_help="Delete what is kept.")
def cache_clear() -> None:
    """Delete the files of the cache, and nothing else in its folder."""
    from lmqlc.cache_command import cache_command

    cache_command(clear=True)


@click.command(
    short_help="Teach a shell to complete command lines.",
    epilog="""\b
Examples:
  eval "$(lmqlc completion bash)"      in ~/.bashrc
  eval "$(lmqlc completion zsh)"       in ~/.zshrc
  lmqlc completion fish | source       in ~/.config/fish/config.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script for SHELL that completes commands, options and files."""
    from lmqlc.completion_command import completion_command

    completion_command(shell, ctx.find_root().command)


COMMANDS: Sequence[click.Command] = (new, fmt, test, lsp, serve_query, doctor, cache, completion)

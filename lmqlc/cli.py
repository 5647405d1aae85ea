"""The command line: options and exit codes. The work of a command is in a module of its own, imported when it runs.

Exit codes: 0; 1 the program is at fault; 2 the command line is; 3 a model or server cannot be reached; 70 lmqlc itself is at fault;
130 interrupted. Data goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from lmqlc import __version__, cli_tools
from lmqlc.configuration import applied

USAGE, OUR_FAULT, INTERRUPTED = 2, 70, 130

_EPILOG = """\b
Examples:
  lmqlc run hello.lmql                             run on the model the program names, else on the small embedded one
  lmqlc run hello.lmql --model local:gpt2          run on a transformers model
  lmqlc run ask.lmql --arg question="Why?" --json  give arguments, get JSON
  echo '"Say hi: [WHO]" where len(WHO) < 9' | lmqlc run -
  lmqlc check *.lmql                               find errors without running anything
  lmqlc new capitals                               start a project with a query, its tests and settings

\b
`lmqlc COMMAND --help` shows examples of a command. Settings: [tool.lmqlc] in pyproject.toml, and environment variables.
"""


@click.group(cls=cli_tools.Sections, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", message="lmqlc %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Compile and run LMQL programs: prompts with holes, constraints that hold, Python in between."""
    ctx.obj = ctx.with_resource(applied())


@cli.command(
    short_help="Run a program.",
    epilog="""\b
Examples:
  lmqlc run packing.lmql
  lmqlc run packing.lmql --model local:gpt2 --decoder "sample(temperature=0.7, seed=1)"
  lmqlc run ask.lmql --arg question="Who wrote Faust?" --arg n=3 --json
  lmqlc run packing.lmqlc --no-stream --time --certificate packing.json
""",
)
@click.argument("query", type=click.Path())
@click.option("--model", metavar="M", help='The model, such as "local:gpt2" or "demo"; goes before the program\'s own `from`.')
@click.option("--decoder", metavar="D", help='The decoder, such as "argmax" or "sample(temperature=0.7, n=2)"; goes before the header.')
@click.option(
    "--arg", "args", metavar="K=V", multiple=True, help="An argument of the program. V is JSON where it reads as JSON, else a string."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON: prompt, holes with tokens, variables, usage.")
@click.option("--stream/--no-stream", default=None, help="Show the prompt as it grows, on standard error. Default: on a terminal.")
@click.option("--timeout", metavar="S", type=float, help="End the query after so many seconds; what it has written is shown.")
@click.option("--max-tokens", metavar="N", type=int, help="The most tokens of each hole; goes before the header.")
@click.option("--max-total-tokens", metavar="N", type=int, help="The most tokens of all holes together; goes before the header.")
@click.option("--certificate", metavar="FILE", help="Write what it takes to repeat the run, as JSON; `lmqlc verify FILE` repeats it.")
@click.option("--time", "timed", is_flag=True, help="Print what the run cost, on standard error.")
def run(
    query: str,
    model: str | None,
    decoder: str | None,
    args: tuple[str, ...],
    as_json: bool,
    stream: bool | None,
    certificate: str | None,
    timed: bool,
    **limits: float | None,
) -> None:
    """Run QUERY: a .lmql program, a compiled .lmqlc, or - for standard input."""
    from lmqlc.run_command import run_command

    given = {name: value for name, value in limits.items() if value is not None}
    run_command(
        query, model=model, decoder=decoder, args=args, as_json=as_json, stream=stream, certificate=certificate, timed=timed, limits=given
    )


@cli.command(
    short_help="Repeat the runs of a certificate.",
    epilog="""\b
Examples:
  lmqlc run packing.lmql --certificate packing.json
  lmqlc verify packing.json
  lmqlc verify packing.json --model local:gpt2   is it the same on another model?
""",
)
@click.argument("certificate")
@click.option("--query", metavar="FILE", help="The program that was run, where the certificate does not hold all of it.")
@click.option("--model", metavar="M", help="The model, where the certificate cannot name it, or another one is to be tried.")
@click.option("--arg", "args", metavar="K=V", multiple=True, help="An argument that the certificate does not hold.")
def verify(certificate: str, query: str | None, model: str | None, args: tuple[str, ...]) -> int:
    """Repeat the runs of CERTIFICATE, a file of `lmqlc run --certificate`, and print what differs; exits with 1 where something does."""
    from lmqlc.verify_command import verify_command

    return verify_command(certificate, query=query, model=model, args=args)


@cli.command(
    short_help="Compile a program, or print a stage of it.",
    epilog="""\b
Examples:
  lmqlc compile packing.lmql                     writes packing.lmqlc
  lmqlc compile packing.lmql --emit python       prints the coroutine that the program becomes
  lmqlc compile packing.lmql --emit gbnf         prints the grammar of its holes for llama.cpp
  lmqlc compile packing.lmql --tokenizer ./gpt2  also works out the token masks for a model's tokenizer
""",
)
@click.argument("query", type=click.Path())
@click.option("-o", "--output", metavar="FILE", help="Where to write the artifact. Default: the program's name with .lmqlc.")
@click.option(
    "--tokenizer",
    "tokenizers",
    metavar="T",
    multiple=True,
    help="A model directory or tokenizer.json to work out token masks for; repeatable.",
)
@click.option(
    "--emit",
    "stage",
    metavar="STAGE",
    help="Print a stage instead: ast, ir, python; or the language of the holes: regex, ebnf, gbnf, lark, dot.",
)
@click.option("--hole", metavar="NAME", help="With --emit: the language of this hole alone.")
def compile(query: str, output: str | None, tokenizers: tuple[str, ...], stage: str | None, hole: str | None) -> None:
    """Compile QUERY, a .lmql program, to an artifact that runs without being compiled again."""
    from lmqlc.compile_command import compile_command

    compile_command(query, output=output, tokenizers=tokenizers, stage=stage, hole=hole)


@cli.command(short_help="Find errors without running anything.", epilog="\b\nExample:\n  lmqlc check examples/*.lmql\n")
@click.argument("files", nargs=-1, required=True, type=click.Path())
def check(files: tuple[str, ...]) -> int:
    """Find errors and warnings in FILES without running them."""
    from lmqlc.check_command import check_command

    return check_command(files)


@cli.command(
    short_help="Show what may fill each hole.",
    epilog="""\b
Examples:
  lmqlc explain examples/date.lmql
  lmqlc explain examples/date.lmql --tokenizer ./gpt2 --svg date.svg
  lmqlc explain examples/date.lmql --model vllm/llama
""",
)
@click.argument("query", type=click.Path())
@click.option(
    "--tokenizer", "tokenizers", metavar="T", multiple=True, help="A model directory or tokenizer.json to count tokens of; repeatable."
)
@click.option("--model", metavar="M", help="Say how this model's backend holds each constraint, such as vllm/NAME.")
@click.option("--svg", metavar="FILE", help="Also draw the automata of the holes.")
def explain(query: str, tokenizers: tuple[str, ...], model: str | None, svg: str | None) -> None:
    """Show for every hole of QUERY what may fill it, how large its automaton is, and whether its masks are exact."""
    from lmqlc.explain_command import explain_command

    explain_command(query, tokenizers=tokenizers, model=model, svg=svg)


for tool in cli_tools.COMMANDS:
    cli.add_command(tool)


@cli.command(
    name="serve-model",
    short_help="Serve a model to other processes.",
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  lmqlc serve-model gpt2                                  at localhost:8080
  lmqlc serve-model ./my-model --cuda --port 9999 --served-name my-model
  lmqlc serve-model gpt2 --dtype bfloat16 --trust_remote_code True
""",
)
@click.argument("rest", nargs=-1, required=True, type=click.UNPROCESSED, metavar="MODEL [--KEY VALUE]...")
@click.option("--cuda", is_flag=True, help="Use all visible GPUs.")
@click.option("--host", default="localhost", show_default=True, help="The address to listen at.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 chooses a free one.")
@click.option("--legacy", is_flag=True, help="Also serve the legacy inference API.")
@click.option("--api-key", metavar="KEY", help="A key that clients must have. Default: LMQL_API_KEY; none where that is not set.")
@click.option("--served-name", multiple=True, metavar="NAME", help="What clients call the model; repeatable. Default: MODEL.")
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1, 4096), help="Requests that share a step of the model.")
@click.option(
    "--queue", default=256, show_default=True, type=click.IntRange(0), help="Requests that may wait; more are told to come again."
)
@click.option(
    "--timeout", default=600.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Seconds that a request may take."
)
@click.option("--connections", default=1000, show_default=True, type=click.IntRange(1), help="Connections open at one time.")
@click.option(
    "--drain", default=30.0, show_default=True, type=click.FloatRange(0), help="Seconds for what is under way when the server stops."
)
def serve_model(
    rest: tuple[str, ...], cuda: bool, batch: int, queue: int, timeout: float, connections: int, drain: float, **ours: Any
) -> None:
    """Serve MODEL (a directory, a name on the hub, or demo) until it is stopped.

    Any other --KEY VALUE goes to from_pretrained: --dtype bfloat16, --load_in_4bit, --trust_remote_code True.
    """
    from lmqlc.serve_command import serve_command

    bounds = {"batch": batch, "queue": queue, "seconds": timeout, "connections": connections, "drain": drain}
    serve_command(rest, cuda=cuda, ours=ours, bounds=bounds)


def run_cli(arguments: list[str]) -> int:
    """Run the command line; the exit code. Nothing but SystemExit of a program's own comes out."""
    try:
        code = cli.main(arguments, prog_name="lmqlc", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        print("lmqlc: interrupted", file=sys.stderr)  # on a line of its own: click has ended the last one
        return INTERRUPTED
    except BrokenPipeError:
        return _closed_pipe()
    except Exception as error:  # noqa: BLE001 - the last line of defence: no foreign traceback reaches a user
        return _failed(error)
    return code if isinstance(code, int) else 0


def _closed_pipe() -> int:
    """Whoever read our output has seen enough. What is still buffered must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _failed(error: Exception) -> int:
    from lmqlc.grammar.errors import LmqlError
    from lmqlc.terminal import visible
    from lmqlc.tracebacks import ProgramFailed

    if isinstance(error, LmqlError):
        is_whole = bool(error.diagnostics) or isinstance(error, ProgramFailed)
        print(visible(error.message if is_whole else f"lmqlc: error: {error.message}"), file=sys.stderr)
        return error.exit_code
    print(f"lmqlc: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    if os.environ.get("LMQLC_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    else:
        print("  this is a bug in lmqlc, not in your program; LMQLC_DEBUG=1 shows where it happened", file=sys.stderr)
    return OUR_FAULT

"""The command line: arguments, progress and tables around the public functions."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from npuq import __version__

from . import compare, convert, describe, quantize, template
from .arguments import FAULT, INTERRUPTED, NOT_VERIFIED, USER_ERROR

app = typer.Typer(
    name="npuq",
    help="Trained neural networks in, exact integer NPU programs out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"npuq {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Trained neural networks in, exact integer NPU programs out."""


for command in (
    quantize.quantize,
    template.template,
    convert.convert,
    convert.run,
    describe.inspect,
    convert.emit,
    convert.opt,
    compare.compare,
    compare.diverge,
    describe.check,
    describe.targets,
    describe.passes,
):
    app.command()(command)


def main() -> None:
    """Run the command line; exit code 0 on success, 2 for the user's errors, 3 if a verification fails."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # Hide XLA's notes on the machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    remember_compilations()
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        code, text = _code_and_text(error)
        if text:
            print(f"npuq: {text}", file=sys.stderr)
        sys.exit(code)


def remember_compilations() -> None:
    """Let JAX, once it is loaded, keep compiled functions in the user's cache folder, if it can be made."""
    from npuq.cache import cache_folder, settings

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    for name, value in settings(folder).items():
        os.environ.setdefault(name.upper(), str(value))


def _code_and_text(error: BaseException) -> tuple[int, str]:
    """Exit code and line of text for an error."""
    if isinstance(error, TyperException):
        # Without a message it was a request for help, which has been printed.
        message = " ".join(error.format_message().split())
        return USER_ERROR, message and f"{message.rstrip('.')}; see npuq --help"
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED, "interrupted"
    # Imported here, since they load the whole compiler.
    from npuq.backends.npu import VerificationError
    from npuq.ir.errors import NpuqError, one_line

    if isinstance(error, NpuqError):
        return NOT_VERIFIED if isinstance(error, VerificationError) else USER_ERROR, one_line(error)
    if isinstance(error, MemoryError | OSError):
        return USER_ERROR, f"{type(error).__name__}: {one_line(error)}"
    return FAULT, f"a fault of npuq itself, {type(error).__name__}: {one_line(error)}; --debug shows where"

"""The program itself: how it is called, what its exit codes are, how errors become sentences."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from parity.errors import ParityError

DIVERGED, COULD_NOT_VERIFY, INTERRUPTED = 1, ParityError.exit_code, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain errors: they read the same in a pipe, in a log and on a narrow terminal.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from parity import __version__

        typer.echo(f"parity {__version__}")
        raise typer.Exit


@app.callback()
def parity(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Prove, layer by layer, that a Keras/TensorFlow port computes what its PyTorch original computes.

    \b
    Examples:
      parity models                                    what can be verified by name
      parity verify flownet                            noise and a real pair, in eager, graph and XLA
      parity verify flownet --input noise --mode xla   one input in one mode
      parity init                                      a pair of your own, written into a file and verified
      parity verify parity_mynet.py                    the pair in that file
      parity convert net.py:Net -o net.keras --shape 1,3,64,96   a port made from the original, verified
      parity export flownet --to pb,tflite-int8        files that ship, each of them verified
      parity gate flownet --artifact net.pb            whether a file may go out
      parity explain flownet conv3_1                   why a layer differs, and what to change
      parity repair flownet --port mine.keras -o fixed.keras
      parity repro flownet conv3_1 -o folder           that layer as a script, to send to somebody
      parity layers                                    which torch layers can be converted, and how
      parity doctor                                    what this environment is, and its known hazards

    Exit codes: 0 parity, 1 diverged, 2 wrong use, 3 could not verify.
    """


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Every error parity raises on purpose becomes one line on stderr and its exit code."""
    try:
        yield
    except ParityError as error:
        typer.echo(f"parity: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except SystemExit as error:
        # Of the pair's own code, since parity ends by typer.Exit: whatever its code, it is no verdict.
        from parity.lookup import users_line

        typer.echo(f"parity: the pair's code ended the program{users_line(error)}; nothing was verified", err=True)
        raise typer.Exit(COULD_NOT_VERIFY) from None
    except KeyboardInterrupt:
        typer.echo("parity: interrupted; nothing was finished, and nothing was written", err=True)
        raise typer.Exit(INTERRUPTED) from None


def in_colour() -> bool:
    """Whether what is printed may be coloured: on a terminal that has colours, unless NO_COLOR says otherwise.

    An empty NO_COLOR says nothing (https://no-color.org).
    """
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

"""The command line: ``lamdemo transfer``, ``compare``, ``train``, ``family``, ``evaluate`` and what serves them.

Whatever computes is imported when a command runs, so that ``lamdemo --help`` answers at once.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from lamdemo import __version__
from lamdemo.cli.adapt import adapt
from lamdemo.cli.atlas import atlas
from lamdemo.cli.companions import companions
from lamdemo.cli.compare import compare
from lamdemo.cli.compose import compose
from lamdemo.cli.controller import train_controller
from lamdemo.cli.episodes import episodes
from lamdemo.cli.evaluation import evaluate, scenes
from lamdemo.cli.futures import train_futures
from lamdemo.cli.label_curve import label_curve
from lamdemo.cli.look import look
from lamdemo.cli.page import page
from lamdemo.cli.plan import plan
from lamdemo.cli.prior import prior
from lamdemo.cli.push import push
from lamdemo.cli.report import report
from lamdemo.cli.soak import soak
from lamdemo.cli.space import space
from lamdemo.cli.training import family, pack, shards, train
from lamdemo.cli.transfer import transfer
from lamdemo.cli.verdict import verdict
from lamdemo.cli.world_models import train_draft, train_twin
from lamdemo.core.devices import let_threads_wait
from lamdemo.core.errors import LamdemoError, as_text, reason, shown_name

# What the system answers where a place cannot be used, whatever the command was about to do there.
_PLACES = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EROFS, errno.ENOSPC}

cli = typer.Typer(
    name="lamdemo",
    help="Latent action world models: the action in a clip, carried over to another picture.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command, name in (
    (transfer, "transfer"),
    (compare, "compare"),
    (compose, "compose"),
    (train, "train"),
    (family, "family"),
    (adapt, "adapt"),
    (train_controller, "train-controller"),
    (train_futures, "train-futures"),
    (label_curve, "label-curve"),
    (train_twin, "train-twin"),
    (train_draft, "train-draft"),
    (companions, "companions"),
    (pack, "pack"),
    (shards, "shards"),
    (evaluate, "evaluate"),
    (verdict, "verdict"),
    (report, "report"),
    (look, "look"),
    (plan, "plan"),
    (scenes, "scenes"),
    (prior, "prior"),
    (atlas, "atlas"),
    (page, "app"),
    (push, "push"),
    (space, "space"),
    (soak, "soak"),
):
    cli.command(name)(command)
cli.add_typer(episodes)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lamdemo {__version__}")
        raise typer.Exit


@cli.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Show the version and leave.", callback=_show_version, is_eager=True
    ),
) -> None:
    if ctx.invoked_subcommand is None:
        ctx.get_help()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process.

    Args:
        arguments: what follows the program's name; the process' own by default.

    Raises:
        SystemExit: always. 0: done. 1: something unexpected. 2: something the user can mend.
            130: interrupted. Each but the first is told in one line on stderr.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # So that a stopped job cleans up after itself just as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _be_quiet()
    _be_printable()
    # Read when torch is imported: what Apple's GPUs cannot compute, the CPU does.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    let_threads_wait()
    raise SystemExit(_run(arguments))


def _be_quiet() -> None:
    """Keep libraries from talking, unless somebody is looking for a fault."""
    if os.environ.get("LAMDEMO_DEBUG"):
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _be_printable() -> None:
    """See that no line that cannot be printed as it is costs a finished result."""

    def printable(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error("surrogateescape")(error)  # the bytes that a name is of
        except UnicodeError:
            return codecs.lookup_error("replace")(error)

    codecs.register_error("lamdemo", printable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="lamdemo")
    # A terminal of no width, as some runners of jobs say, would be an error of the library that sets lines.
    if not os.environ.get("COLUMNS", "80").isdecimal() or os.environ.get("COLUMNS", "80").strip("0") == "":
        del os.environ["COLUMNS"]


def _run(arguments: list[str]) -> int:
    """Run a command; returns the exit code."""
    try:
        code = typer.main.get_command(cli)(arguments, prog_name="lamdemo", standalone_mode=False, obj=arguments)
        # Typer turns an interrupt into this code, and says nothing.
        return _say("interrupted.", 130) if code == 130 else int(code or 0)
    except KeyboardInterrupt:
        return _say("interrupted.", 130)
    except LamdemoError as error:
        return _say(str(error), 2)
    except TyperException as error:
        words = error.format_message().rstrip(".")
        return _say(f"{words}; see lamdemo {_command_in(arguments)}--help.", error.exit_code)
    except OSError as error:
        if error.errno not in _PLACES or not error.filename:
            return _unexpected(error)
        name = shown_name(os.fsdecode(error.filename))
        return _say(f"{name} cannot be used, {reason(error).lower()}; choose another place or mend its rights.", 2)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _say(f"unexpected {what[:300]} (run it again with LAMDEMO_DEBUG=1 for the trace)", 1)


def _say(words: str, code: int) -> int:
    """Put one line on stderr; returns the code, for brevity."""
    if os.environ.get("LAMDEMO_DEBUG") and code in (1, 2):
        traceback.print_exc()
    print("lamdemo:", " ".join(as_text(words).split()), file=sys.stderr)
    return code


def _command_in(arguments: list[str]) -> str:
    known = {command.name for command in cli.registered_commands}
    below = {command.name for command in episodes.registered_commands}
    if arguments[:1] == ["episodes"]:
        return " ".join(arguments[: 2 if arguments[1:2] and arguments[1] in below else 1]) + " "
    return f"{arguments[0]} " if arguments and arguments[0] in known else ""

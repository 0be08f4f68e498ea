"""The program `inlay`: the table of commands, and from an error to a message and an exit code."""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from inlay import __version__
from inlay.cli import arguments, console
from inlay.cli.blend import blend
from inlay.cli.compare import compare
from inlay.cli.convert import convert
from inlay.cli.depth import depth
from inlay.cli.doctor import doctor
from inlay.cli.evaluate import evaluate
from inlay.cli.inspect_data import inspect_data
from inlay.cli.listing import list_runs
from inlay.cli.mistakes import errors
from inlay.cli.predict import predict
from inlay.cli.pretrain import pretrain
from inlay.cli.project import plan, promote, run, status
from inlay.cli.resume import resume
from inlay.cli.show import show
from inlay.cli.site_table import sites
from inlay.cli.sweep import sweep
from inlay.cli.train import train
from inlay.errors import InlayError, did_you_mean

# Both are public through their subclasses only, and typer may or may not carry click inside.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="inlay",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def _root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Fine-tune large pretrained Transformers by small adapters inside a frozen base.

    Begin with: inlay inspect reviews.csv, then: inlay train reviews.csv
    """


app.command("inspect")(inspect_data)
app.command("train")(train)
app.command("sweep")(sweep)
app.command("depth")(depth)
app.command("pretrain")(pretrain)
app.command("resume")(resume)
app.command("predict")(predict)
app.command("evaluate")(evaluate)
app.command("errors")(errors)
app.command("compare")(compare)
app.command("blend")(blend)
app.command("list")(list_runs)
app.command("show")(show)
app.command("convert")(convert)
app.command("sites")(sites)
app.command("status")(status)
app.command("plan")(plan)
app.command("run")(run)
app.command("promote")(promote)
app.command("doctor")(doctor)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        given: Arguments without the program's name; those of the process if `None`.

    Returns:
        The exit code: 0, 1 for a fault of ours, 2 for usage and settings, 3 for data, 4 for a
        gate that is missed, 5 for memory and disk, 130 and 143 after an interruption.
    """
    console.open_what_is_closed()
    console.replace_what_cannot_be_shown()
    try:
        code = _run(list(sys.argv[1:] if given is None else given))
        console.finish(sys.stdout)
    except BrokenPipeError:
        # What the parser prints itself, such as help.
        console.discard(sys.stdout)
        return 0
    except KeyboardInterrupt:
        console.tell("interrupted")
        return 130
    except InlayError as error:
        _say(error)
        return error.exit_code
    except Exception as error:
        return _unexpected(error)
    return code


def _run(given: list[str]) -> int:
    command = typer.main.get_command(app)
    options = {name: _options(sub) for name, sub in _subcommands(command).items()}
    if "--version" in given[:1]:
        console.put(f"inlay {__version__}")
        return 0
    try:
        rewritten = arguments.rewrite(given or ["--help"], options)
        for note in rewritten.notes:
            console.tell(f"note: {note}")
        with command.make_context("inlay", rewritten.arguments) as context:
            result = command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except _UsageError as error:
        console.tell(f"inlay: {_usage(error)}")
        return 2
    return result if isinstance(result, int) else 0


def _subcommands(command: Any) -> dict[str, Any]:
    return dict(command.commands)


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def _usage(error: Any) -> str:
    """Word a mistake in the arguments in one line."""
    path = error.ctx.command_path if error.ctx is not None else "inlay"
    help_line = f"See `{path} --help`."
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        known = [*(error.possibilities or ()), *_known_options(path, error.ctx)]
        hint = did_you_mean(option, known).replace("'", "")
        return f"no option {option}.{hint} {help_line}"
    message = str(error.format_message()).strip()
    if message.startswith("No such command"):
        word = message.split("'")[1]
        hint = did_you_mean(word, _subcommands(error.ctx.command)).replace("'", "")
        return f"no command {word!r}.{hint} {help_line}"
    message = message.removeprefix("Invalid value for ").rstrip(".")
    return f"{message[0].lower()}{message[1:]}. {help_line}"


def _known_options(path: str, context: Any) -> list[str]:
    own = sorted(_options(context.command)) if context is not None else []
    return [*own, *arguments.settings()] if path == "inlay train" else own


def _say(error: InlayError) -> None:
    text = " ".join(str(error).split("\n"))
    # What follows a signal is not a mistake, so it is not said in the voice of one.
    console.tell(text if error.exit_code > 128 else f"inlay: {text}")


def _unexpected(error: Exception) -> int:
    """Name the problems that a machine has; keep the traceback of a fault of ours in a file."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        console.tell(f"inlay: the disk is full ({error.filename or error}). Make room and go on.")
        return 5
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        console.tell(f"inlay: {error.filename or ''}: {error.strerror}; choose another place.")
        return 2
    if isinstance(error, MemoryError):
        console.tell("inlay: memory does not suffice. Use less data, or a smaller --base.")
        return 5
    descriptor, path = tempfile.mkstemp(prefix="inlay-error-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(f"inlay {__version__}, Python {sys.version}\n{sys.argv}\n\n")
        file.write("".join(traceback.format_exception(error)))
    first = str(error).strip().split("\n")[0][:200]
    console.tell(
        f"inlay: a fault of this program, not of yours: {type(error).__name__}: {first}\n"
        f"The details are in {path}; please report them."
    )
    return 1

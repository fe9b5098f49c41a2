"""The command line: a thin skin on the library.

Nothing heavy is imported before a command needs it, so that `vevolve --help` answers at once. Errors leave here as one
line: a user's mistake exits with 2, a failure with 1, and only `--debug` shows a traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Annotated

import typer

from vevolve import __version__
from vevolve.errors import BadInput, UnknownName, VEvolveError
from vevolve.evolve.cli import attack, certify, doctor, judge, leaderboard, make, read, review, run, watch, web

DONE, FAILED, MISUSE, NOTHING_VALID = 0, 1, 2, 3
"""Exit codes."""
INTERRUPTED = 130
"""What the command-line library makes of a Ctrl-C that no command took."""

app = typer.Typer(
    name="vevolve",
    help="Evolve programs with language models, and believe only what was verified.",
    epilog="Exit codes: 0 done, 1 failed, 2 misuse, 3 the budget ended with no valid new program.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"vevolve {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """What holds for every command. It stands before the command's name."""


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "resume": run.resume,
    "eval": judge.evaluate,
    "ls": read.ls,
    "front": read.front,
    "show": read.show,
    "diff": read.diff,
    "export": read.export,
    "rm": read.rm,
    "certify": certify.certify,
    "audit": certify.audit,
    "verify": certify.verify,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.command("web")(web.web)
app.command("watch")(watch.watch)
for _later in (review.report, review.plot, review.note, review.pin, review.prune):
    app.command(_later.__name__)(_later)
app.add_typer(make.traces, name="traces")
app.add_typer(make.new, name="new")
app.add_typer(judge.check, name="check")
app.command("attack")(attack.attack_problem)
app.command("doctor")(doctor.doctor)
app.command("leaderboard")(leaderboard.leaderboard)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = arguments[:1] == ["--debug"]
    try:
        code = app(args=list(arguments), prog_name="vevolve", standalone_mode=False) or DONE
        sys.stdout.flush()
        return _complain(_stopped(arguments), FAILED) if code == INTERRUPTED else code
    except BrokenPipeError:
        return _unheard()
    except SystemExit as quit:  # the command-line library's answer to a closed pipe
        if isinstance(quit.__context__, OSError) and quit.__context__.errno == errno.EPIPE:
            return _unheard()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _complain(_stopped(arguments), FAILED)
    except VEvolveError as error:
        if debug:
            raise
        return _complain(str(error), MISUSE if isinstance(error, BadInput | UnknownName) else FAILED)
    except OSError as error:
        if debug:
            raise
        where = f": {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror or error}{where}.", FAILED)
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is not None and type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(usage().rstrip() + "\n")  # the whole help, as it stands
            return MISUSE
        if usage is not None:  # what Typer raises for a wrong option; its class moved between versions
            return _complain(_usage(error, usage(), arguments), MISUSE)
        if debug:
            raise
        return _complain(
            f"vEvolve itself failed: {type(error).__name__}: {error}. That is a bug; please report it with what "
            f"`vevolve --debug {' '.join(arguments)}` prints.",
            FAILED,
        )


def _stopped(arguments: Sequence[str]) -> str:
    """A run that had begun says more by itself."""
    evolves = any(word in ("run", "resume") for word in arguments[:2])
    return "stopped before anything was examined." if evolves else "stopped."


def _usage(error: Exception, message: str, arguments: Sequence[str]) -> str:
    """What is wrong with a command's options, what was found, and where to look."""
    path = getattr(getattr(error, "ctx", None), "command_path", "vevolve")
    value = _given(getattr(getattr(error, "param", None), "opts", ()), arguments)
    told = message.rstrip().rstrip(".")
    found = f"; found '{value}'" if value is not None and f"'{value}'" not in told else ""
    end = "" if told.endswith(("?", "!")) else "."
    return f"{told}{found}{end} See `{path} --help`."


def _given(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    """The value that stands after an option of one of these names; None where there is none."""
    for word, following in zip_longest(arguments, arguments[1:]):
        name, separator, value = word.partition("=")
        if name in names:
            return value if separator else following
    return None


def _unheard() -> int:
    """The reader of our output has seen enough, such as `head`: that is no failure, and nothing more is written."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    return DONE


def _complain(message: str, code: int) -> int:
    from vevolve.evolve.cli.render import line
    from vevolve.evolve.cli.typed import typed

    sys.stderr.write(f"error: {line(typed(message), 2000)}\n")
    return code

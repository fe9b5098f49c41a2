"""`vevolve web`: the page, served on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket
    from types import FrameType


def web(
    runs: Annotated[
        str | None,
        typer.Argument(metavar="RUNS", help="A folder of runs, or one run; default: ./runs, or the run in here."),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes any that is free.")] = 8765,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen. Beyond loopback everyone there can read the runs.")
    ] = "127.0.0.1",
) -> None:
    """Serve the page on which runs are reviewed, live.

    It only reads, and answers this machine alone unless told otherwise.
    """
    import contextlib
    import importlib
    import sys

    from vevolve.archive.web.app import LOOPBACK, create
    from vevolve.archive.web.library import Library
    from vevolve.errors import MissingDependency
    from vevolve.evolve.leaderboard.shelf import Measurements

    try:
        for name in ("jinja2", "pygments", "starlette"):
            importlib.import_module(name)
        import uvicorn
    except ImportError as error:
        raise MissingDependency(f"The page needs '{error.name}': pip install 'vevolve[web]'") from error

    root = _root(runs)
    listeners = listen(host, port)
    library = Library(root)
    app = create(library, names(host, listeners), Measurements())
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"http://{shown}:{listeners[0].getsockname()[1]}/ shows {root}. Ctrl-C ends it.\n")
    if host not in LOOPBACK:
        sys.stderr.write("Everyone who reaches this address can read the runs: there is no password.\n")
    sys.stdout.flush()

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Streams that follow a run hang up, since the server waits for them."""
            library.ending = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="on", timeout_graceful_shutdown=10
    )
    with contextlib.suppress(KeyboardInterrupt):  # the server raises it again when it has stopped
        Server(config).run(sockets=listeners)


def listen(host: str, port: int) -> list[socket.socket]:
    """A listener on every address of a host, all on one port. Raises `BadInput` where one cannot be had."""
    import socket

    from vevolve.errors import BadInput

    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in dict.fromkeys(found):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((place[0], listeners[0].getsockname()[1] or port, *place[2:]))
            listener.listen(128)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise BadInput(
            f"Cannot listen on {host} port {port}: {error.strerror}; `--port 0` takes one that is free."
        ) from error
    return listeners


def names(host: str, listeners: Sequence[socket.socket]) -> set[str]:
    """What a request may call this server: as it was asked for, by its addresses, and everywhere by this machine's."""
    import contextlib
    import socket

    from vevolve.archive.web.app import LOOPBACK

    found = {*LOOPBACK, host, *(listener.getsockname()[0] for listener in listeners)}
    if host in ("0.0.0.0", "::"):
        own = socket.gethostname()
        found |= {own, socket.getfqdn()}
        with contextlib.suppress(OSError):
            found |= {str(place[0]) for *_, place in socket.getaddrinfo(own, None, type=socket.SOCK_STREAM)}
    return {name.partition("%")[0] for name in found}


def _root(runs: str | None) -> Path:
    """What is shown. Raises `UnknownName` or `BadInput` where it is not there."""
    from vevolve.errors import BadInput
    from vevolve.evolve.run import RUNS, find_run

    if runs is None:
        return RUNS if RUNS.is_dir() else find_run(None).path
    path = Path(runs)
    if path.is_dir() or path.is_file():
        return path
    if "/" in runs:
        raise BadInput(f"No folder {runs}: expected one that holds runs, or a run's own.")
    return find_run(runs).path

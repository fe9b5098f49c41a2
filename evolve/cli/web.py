"""`vevolve web`: the page, served on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    import socket
    import sys

    from vevolve.archive.web.app import LOOPBACK, create
    from vevolve.errors import BadInput, MissingDependency

    try:
        for name in ("jinja2", "pygments", "starlette"):
            importlib.import_module(name)
        import uvicorn
    except ImportError as error:
        raise MissingDependency(f"The page needs '{error.name}': pip install 'vevolve[web]'") from error

    root = _root(runs)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise BadInput(
            f"Cannot listen on {host} port {port}: {error.strerror}; `--port 0` takes one that is free."
        ) from error
    named = {*LOOPBACK, host}
    if host in ("0.0.0.0", "::"):
        named.add(socket.gethostname())
        with contextlib.suppress(OSError):
            named.update(socket.gethostbyname_ex(socket.gethostname())[2])
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"http://{shown}:{listener.getsockname()[1]}/ shows {root}. Ctrl-C ends it.\n")
    if host not in LOOPBACK:
        sys.stderr.write("Everyone who reaches this address can read the runs: there is no password.\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        create(root, named), log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])


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

"""Joining a cluster that runs, and what is left of one's own: real clusters, each in processes of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from vevolve.errors import BadInput, Stopped
from vevolve.evolve import cluster, connection, ray_watchdog

BIN = Path(sys.executable).parent


@pytest.fixture
def silent():
    """A server that accepts and says nothing: its address, and an event that tells of the first visitor."""
    visited = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with contextlib.suppress(OSError):
                kept = [server.accept()]
                visited.set()
                while True:
                    kept.append(server.accept())

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", visited


def test_a_dead_address_is_one_line():
    with socket.socket() as taken:  # nobody listens there, and nobody else gets the port meanwhile
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BadInput, match=f"No Ray cluster can be joined at '{address}': Connection refused") as error:
            cluster.open_hosts(1, pytest.fail, address=address)
    assert "\n" not in str(error.value)


def test_a_silent_address_is_given_up(silent, monkeypatch):
    address, _ = silent
    monkeypatch.setattr(connection, "JOIN_S", 1.0)
    with pytest.raises(BadInput, match=f"No Ray cluster answers at '{address}' within 1 s"):
        connection.join_cluster(address)


def test_a_stop_is_answered_while_an_address_is_silent(silent):
    address, visited = silent
    with pytest.raises(Stopped):
        connection.join_cluster(address, visited.is_set)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_that_waits_for_a_cluster(silent, tmp_path, number):
    address, visited = silent
    process = vevolve(tmp_path, "run", "circle_packing", "--ray-address", address)
    assert visited.wait(180)
    process.send_signal(number)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: Stopped before the workers were open")
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """The address of a cluster of one CPU that asks for a token, and the variables that hold the token."""
    port = free_port()
    folder = tmp_path_factory.mktemp("ray")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    mark = secrets.token_hex(16)
    environment = os.environ | token | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", ray_watchdog.VARIABLE: mark}
    short = f"/tmp/vevolve-{port}"  # a socket's path has a hundred letters at most
    command = [
        str(BIN / "ray"),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        f"--port={port}",
        "--num-cpus=1",
    ]
    command += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--object-store-memory=100000000"]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            [*command, f"--temp-dir={short}"], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while b"Ray runtime started" not in (folder / "log").read_bytes():
                assert head.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
            yield f"127.0.0.1:{port}", token
        finally:
            for pid in ray_watchdog.bearers(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            head.wait()
            subprocess.run(["rm", "-rf", short], check=True)


@pytest.mark.timeout(400)
def test_a_run_joins_a_cluster_and_leaves_it_running(joined, tmp_path):
    address, token = joined
    for directory in ("one", "two"):
        arguments = ("run", "circle_packing", "--ray-address", address, "--evaluations", "2", "--directory", directory)
        process = vevolve(tmp_path, *arguments, **token)
        printed, said = process.communicate(timeout=180)
        assert process.returncode in (0, 3), said
        assert "2 evaluations" in printed


@pytest.mark.timeout(400)
def test_more_workers_than_cpus_are_refused_with_both_numbers(joined, tmp_path):
    address, token = joined
    process = vevolve(tmp_path, "run", "circle_packing", "--ray-address", address, "--workers", "3", **token)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 2, said
    assert f"The Ray cluster at '{address}' has 1 CPUs, and 3 workers were asked for" in said


@pytest.mark.timeout(400)
def test_a_token_that_lacks_is_named(joined, tmp_path):
    address, _ = joined
    process = vevolve(tmp_path, "run", "circle_packing", "--ray-address", address, RAY_AUTH_MODE="disabled")
    _, said = process.communicate(timeout=180)
    assert process.returncode == 2, said
    assert "asks for its token" in said
    assert "RAY_AUTH_MODE=token" in said


@pytest.mark.timeout(400)
def test_nothing_outlives_a_driver_that_is_killed(tmp_path):
    short = tempfile.mkdtemp(prefix="t-", dir="/tmp")
    command = ("run", "circle_packing", "--workers", "1", "--evaluations", "100000")
    process = vevolve(tmp_path, *command, RAY_TMPDIR=short)
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("#2"):
        assert line or process.poll() is None, process.communicate()[1]
    # Ray's agents take their names some time after the cluster answers. The sandbox is there by now.
    while "Agent" not in " ".join((crew := _descendants(process.pid)).values()):
        assert process.poll() is None, "the processes that used to stay behind were never there"
        time.sleep(0.2)
    assert any("zygote" in name for name in crew.values()), "the sandbox"
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 120
    while (left := {name for pid, name in crew.items() if _title(pid) == name}) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    while list(Path(short).iterdir()) and time.monotonic() < deadline:
        time.sleep(0.2)
    Path(short).rmdir()
    assert not Path(short).exists(), "nor does the cluster's folder"


CLUSTER = """
import os, subprocess, sys, time
# As an agent of Ray's, it does not show the mark.
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env={})
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_cluster_that_had_not_started_when_its_driver_died_is_ended_with_its_folder(tmp_path):
    folder = tmp_path / "session"
    (folder / "logs").mkdir(parents=True)
    mark = secrets.token_hex(16)
    watchdog = connection._watchdog(mark, str(folder))
    marked = os.environ | {ray_watchdog.VARIABLE: mark}
    process = subprocess.Popen([sys.executable, "-S", "-c", CLUSTER], env=marked, stdout=subprocess.PIPE)
    assert process.stdout is not None and watchdog.stdin is not None
    child = os.pidfd_open(int(process.stdout.readline()))
    held = f"/proc/{watchdog.pid}/fd"
    deadline = time.monotonic() + 30
    while not any("pidfd" in link for link in _links(held)) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()  # as the kernel does with what the driver itself had started
    process.wait()
    watchdog.stdin.close()
    assert watchdog.wait(120) == 0
    assert select.select([child], [], [], 60)[0], "it has ended"
    assert not folder.exists()


def _links(folder):
    """What the descriptors of a process are of."""
    found = []
    for link in Path(folder).iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return found


@pytest.fixture
def alarm():
    """Sets what answers the alarm, which is the test's own until its end."""
    rest, before = signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *rest)


def test_signals_that_something_native_took_are_answered_by_python_again(alarm):
    native, seen = ctypes.CDLL(None), []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    alarm(signal.SIG_DFL)
    try:
        native.signal(int(signal.SIGTERM), 1)  # ignored, behind the interpreter's back
        signal.raise_signal(signal.SIGTERM)
        assert seen == []
        signal.alarm(1000)  # what ends the process, after a signal that was taken for a crash
        connection._answer_signals()
        assert signal.alarm(0) == 0
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_alarm_of_the_caller_stays(alarm):
    alarm(lambda number, frame: None)
    signal.alarm(1000)
    connection._answer_signals()
    assert signal.alarm(0) > 0


@pytest.mark.parametrize(("length", "kept"), [(4, True), (60, False)], ids=["short", "long"])
def test_a_clusters_folder_leaves_room_for_the_path_of_a_socket(monkeypatch, length, kept):
    place = tempfile.mkdtemp(prefix="t" * length, dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", place)
    monkeypatch.setattr(tempfile, "tempdir", None if kept else place)
    folder = connection._folder()
    try:
        assert len(os.fsencode(folder)) + 66 <= 107
        assert folder.startswith(place) is kept
    finally:
        Path(folder).rmdir()
        Path(place).rmdir()


def free_port():
    """One below those that the kernel hands out, or another process might be given it before the cluster listens."""
    for port in range(20_000 + os.getpid() % 5_000, 30_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port from 20,000 to 30,000 is free")


def vevolve(folder, *arguments, **variables):
    """The command, as a process of its own."""
    return subprocess.Popen(
        [str(BIN / "vevolve"), *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "VEVOLVE_"))} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _descendants(ancestor):
    """Process -> title, of all that a process has started and that those have."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = set(), {ancestor}
    while new := {pid for pid, parent in parents.items() if parent in new}:
        found |= new
    return {pid: title for pid in found if (title := _title(pid))}


def _title(pid):
    """The command of a process; nothing where it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""

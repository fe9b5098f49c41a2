"""`vevolve web`: where it listens, by which names it answers, and how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Started
from vevolve.errors import BadInput
from vevolve.evolve.cli.web import listen, names
from vevolve.types import Containment, Objective


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    started = Started(
        run="r", version="0", problem="circle_packing", problem_hash="0", seed="s", seed_commitment="0", config={},
        objectives=(Objective("x", "min", worst=1.0),), containment=Containment(level="L2"),
    )  # fmt: skip
    Archive.create(tmp_path / "runs" / "r", started).close()
    return tmp_path / "runs"


@IPV6
def test_it_listens_on_an_ipv6_address() -> None:
    (listener,) = listen("::1", 0)
    with listener:
        assert listener.family == socket.AF_INET6 and listener.getsockname()[0] == "::1"


def test_a_name_of_several_addresses_is_listened_to_on_all_of_them_at_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{k}", 0)) for k in (1, 2, 1)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: found)
    listeners = listen("two.example", 0)
    places = [listener.getsockname() for listener in listeners]
    for listener in listeners:
        listener.close()
    assert [place[0] for place in places] == ["127.0.0.1", "127.0.0.2"]
    assert len({place[1] for place in places}) == 1
    assert "two.example" in names("two.example", []) and "evil.example" not in names("two.example", [])


def test_everywhere_means_every_address_of_this_machine_ipv6_included(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::7", 0, 0, 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::7%eth0", 0, 0, 2)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: found)
    assert {"192.0.2.7", "2001:db8::7", "fe80::7", socket.gethostname()} <= names("::", [])
    assert "192.0.2.7" not in names("127.0.0.1", [])


def test_a_port_that_is_taken_is_told_with_a_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="--port 0"):
        listen("127.0.0.1", taken.getsockname()[1])


def served(run: Path, *arguments: str) -> tuple[subprocess.Popen[str], str, int]:
    command = [sys.executable, "-m", "vevolve.evolve.cli", "web", str(run), "--port", "0", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().removeprefix("http://").partition("/ shows")[0]
    host, _, port = address.rpartition(":")
    return server, host.strip("[]"), int(port)


def ask(host: str, port: int, path: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer


@IPV6
def test_a_page_on_ipv6_answers_to_its_address_and_to_no_foreign_name(run: Path) -> None:
    server, host, port = served(run, "--host", "::1")
    try:
        assert host == "::1" and ask("::1", port, "/")[0] == 200
        assert ask("::1", port, "/", Host="evil.example")[0] == 421
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_a_single_run_is_served_with_the_shipped_leaderboard_and_ends_quietly_while_it_is_followed(run: Path) -> None:
    server, host, port = served(run / "r")
    try:
        assert ask(host, port, "/run/r")[0] == 200
        status, answer = ask(host, port, "/leaderboard.json")
        assert status == 200 and b"vattention" in answer.read()
        _, stream = ask(host, port, "/run/r/events")
        assert stream.readline().startswith(b"retry")
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
    finally:
        server.kill()
    assert (said, server.returncode) == ("", 0)

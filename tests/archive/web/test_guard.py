"""Who may ask, and what every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive.web.guard import Guard, host_name

Serve = Callable[[Path], Any]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost@evil"])
def test_another_host_is_refused(runs: Path, serve: Serve, host: str) -> None:
    status, _, text = serve(runs).ask("/", Host=host)
    assert (status, "sparse_decode" in text) in ((421, False), (400, False))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_names_of_this_machine_are_served(runs: Path, serve: Serve, host: str) -> None:
    served = serve(runs)
    assert served.ask("/", Host=f"{host}:{served.port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
def test_another_origin_is_refused(runs: Path, serve: Serve, origin: str) -> None:
    assert serve(runs).ask("/index.json", Origin=origin)[0] == 403


def test_its_own_origin_is_served(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    assert served.ask("/index.json", Origin=served.url)[0] == 200


def test_no_other_site_may_embed_or_read_but_a_link_may_lead_here(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    read = served.ask("/index.json", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script")
    framed = served.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe")
    followed = served.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert (read[0], framed[0], followed[0]) == (403, 403, 200)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(runs: Path, serve: Serve, method: str) -> None:
    assert serve(runs).ask("/run/20260101-plain", method)[0] == 405


@pytest.mark.parametrize(
    "path", ["/", "/run/20260101-plain", "/run/none", "/static/page.css", "/index.json", "/run/none.json"]
)
def test_every_answer_forbids_what_is_not_its_own(runs: Path, serve: Serve, path: str) -> None:
    _, headers, _ = serve(runs).ask(path)
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/run/..%2f..%2fetc", "/static//etc/passwd"]
)
def test_no_path_leads_outside(runs: Path, serve: Serve, path: str) -> None:
    assert serve(runs).ask(path)[0] in (404, 400)


@pytest.mark.parametrize(("host", "name"), [("a:1", "a"), ("[::1]:80", "::1"), ("LOCALHOST", "localhost"), ("", "")])
def test_a_host_is_read_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("server", "host", "served"),
    [
        ("192.0.2.7", "192.0.2.7:8765", True),
        ("::ffff:192.0.2.7", "192.0.2.7:8765", True),
        ("fe80::7%eth0", "[fe80::7]:8765", True),
        ("192.0.2.7", "192.0.2.8:8765", False),
        ("192.0.2.7", "evil.example:8765", False),
    ],
)
def test_the_address_that_a_request_came_to_is_served(server: str, host: str, served: bool) -> None:
    scope = {"method": "GET", "server": (server, 8765), "headers": [(b"host", host.encode())]}
    assert (Guard(None, ["localhost"]).refusal(scope) is None) is served  # type: ignore[arg-type]

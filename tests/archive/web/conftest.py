"""A served page over archives of all kinds, and a browser to look at it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Ended, Proposed, Selected, Started, Told
from vevolve.types import Bound, Candidate, Containment, Cost, Objective, Point, Verdict

HOSTILE = (
    "<script>window.owned=1</script>",
    '<img src=x onerror="window.owned=1">',
    '"><svg onload=window.owned=1>',
    "javascript:window.owned=1",
    "{{ 7 * 7 }}{% raw %}",
    "</textarea></pre></style><iframe srcdoc='<script>parent.owned=1</script>'>",
    "\u202e\u2066reversed\u0000\x1b[31m",
)


def objectives(count: int = 2) -> tuple[Objective, ...]:
    return (
        Objective("traffic", "min", worst=2.0, best=0.005, scale="log10", unit="share of bytes"),
        Objective("error", "min", worst=10.0, best=0.001, scale="log10"),
        Objective("speed", "max", worst=0.0),
    )[:count]


def started(**changed: Any) -> Started:
    plain = Started(
        run="a-run",
        version="0.1.0",
        problem="sparse_decode",
        problem_hash="c0ffee",
        objectives=objectives(),
        seed="sparse_decode/quest",
        seed_commitment="5eed",
        config={"evaluations": 40, "models": ["offline"]},
        containment=Containment(level="L2", layers={"seccomp": "active", "mounts": "absent: no namespaces"}),
    )
    return plain.model_copy(update=changed)


def told(iteration: int, source: str, *points: tuple[float, ...], status: Any = "ok", **rest: Any) -> Told:
    names = [axis.name for axis in objectives(3)]
    feedback, layers = rest.pop("feedback", "fine"), [{"layer": 8, "error": [0.1, 0.4]}, {"layer": 9, "error": [0.2]}]
    verdict = rest.pop("verdict", None) or Verdict(
        valid=status == "ok",
        status=status,
        points=tuple(
            Point.model_validate({"label": f"{32 * 2**k} tokens", **dict(zip(names, values, strict=False))})
            for k, values in enumerate(points)
        ),
        feedback=feedback,
        bounds=(Bound(epsilon=0.05, delta=0.1, split="search", rate=0.2, documents=6, upper=0.5),),
        report={"points": {"main": {"32 tokens": {"layers": layers}}}},
        cost=Cost(wall_s=2.0, cpu_s=1.0, processes=3),
        containment=Containment(level="L2", layers={"seccomp": "active", "mounts": "absent: no namespaces"}),
    )
    return Told(
        iteration=iteration, source=source, verdict=verdict, **{"operation": "mutate", "proposer": "offline", **rest}
    )


SEED = '"""The seed."""\n\nPAGE = 16\n\n\ndef score(keys, query):\n    return keys @ query\n'


def story(archive: Archive) -> list[str]:
    """A seed, a child that gains, a grandchild that fails, one that gains more; returns their ids."""
    better = SEED.replace("16", "8")
    broken = better.replace("keys @ query", "keys[query]")
    best = better.replace("keys @ query", "(keys @ query).abs()")
    ids = [Candidate(source).id for source in (SEED, better, broken, best)]
    archive.append(told(0, SEED, (0.2, 0.9), (0.4, 0.5), operation="seed", proposer="seed", hypervolume_gain=2.0))
    for iteration, source, parent, rest in (
        (1, better, 0, {"idea": "smaller pages", "hypervolume_gain": 0.1}),
        (2, broken, 1, {"status": "crash", "feedback": "IndexError: out of range\nline 8"}),
        (3, best, 1, {"hypervolume_gain": 0.2}),
    ):
        points = () if "status" in rest else ((0.1 / iteration, 0.8), (0.3, 0.4 / iteration))
        archive.append(
            Proposed(
                iteration=iteration,
                attempt=0,
                proposer="openai:gpt",
                system="You evolve.",
                user=f"Improve {iteration}.",
                reply=f"Reply {iteration}.",
                input_tokens=1000,
                output_tokens=100,
                usd=0.01,
            ),
            told(iteration, source, *points, parents=(ids[parent],), proposer="openai:gpt", **rest),
        )
    return ids


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with the story as `20260101-plain`, ended."""
    root = tmp_path / "runs"
    with Archive.create(root / "20260101-plain", started()) as archive:
        ids = story(archive)
        archive.append(
            Selected(iteration=3, candidate=ids[3], verdict=Verdict(valid=False, status="wrong"), promoted=False)
        )
        archive.append(Ended(reason="all 40 evaluations are done", budget="evaluations"))
    return root


class Served:
    """A page that is served on loopback by a thread."""

    def __init__(self, root: Path, shelf: Any = None) -> None:
        uvicorn = pytest.importorskip("uvicorn")
        pytest.importorskip("starlette")
        from vevolve.archive.web.app import create
        from vevolve.archive.web.library import Library

        self._library = Library(root)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = create(self._library, shelf=shelf)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    def data(self, path: str) -> Any:
        status, _, text = self.ask(path)
        assert status == 200, text
        return json.loads(text)

    def close(self) -> None:
        self._library.ending = self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    opened: list[Served] = []

    def start(root: Path, shelf: Any = None) -> Served:
        opened.append(Served(root, shelf))
        return opened[-1]

    yield start
    for served in opened:
        served.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium: the system's, or the one that VEVOLVE_CHROMIUM names."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'vevolve[test]' brings playwright")
    path = os.environ.get("VEVOLVE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no Chromium here: apt-get install chromium, or name one in VEVOLVE_CHROMIUM")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh tab; `page.asked` holds every address it asked for, `page.faults` what went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(30_000)
    tab.asked, tab.faults = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.on("console", lambda message: tab.faults.append(message.text) if message.type == "error" else None)
    yield tab
    context.close()

"""What the page costs at 10,000 candidates, in a real browser: milliseconds to the first paint, to the drawn plot, and
from a key, a search or a sort to the next frame that shows it.

Every figure is a median of several visits; the run is made here, with five operating points a candidate, half of them
without a line of their proposer's, and the server and the browser share this machine. Nothing is measured against the
clock of a test.

    python benchmarks/web.py [--candidates 10000] [--visits 5]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from vevolve.archive import Archive
from vevolve.archive.events import Proposed, Started, Told
from vevolve.types import Candidate, Containment, Objective, Point, Verdict

PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
DRAWN = "() => [...document.querySelectorAll('[data-plot]')].every((figure) => figure.dataset.drawn)"
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"


def fill(path: Path, count: int) -> None:
    rng = random.Random(1)
    objectives = tuple(
        Objective(name, "min", worst=worst, best=best, scale="log10")
        for name, worst, best in (("traffic", 2.0, 0.005), ("error", 10.0, 0.001))
    )
    started = Started(
        run="bench",
        version="0",
        problem="sparse_decode",
        problem_hash="0" * 64,
        objectives=objectives,
        seed="sparse_decode/vattention",
        seed_commitment="0" * 64,
        config={"evaluations": count, "models": ["openai:bench"]},
        containment=Containment(level="L3"),
    )
    ids: list[str] = []
    with Archive.create(path, started) as archive:
        events: list[Proposed | Told] = []
        for number in range(count):
            body = "".join(f"    a{k} = query @ index[{k}] * {rng.random():.4f}\n" for k in range(12))
            source = f"X = {number}\n\n\ndef select(query, index, cache, budget):\n{body}    return a0\n"
            valid = number == 0 or rng.random() > 0.25
            quality = 1.2 * math.exp(-number / count + rng.gauss(0, 0.25)) + 0.02
            points = [
                Point(
                    label=f"{tokens} tokens",
                    traffic=tokens / 1024 * math.exp(rng.gauss(0, 0.15)),
                    error=min(9.0, quality * (32 / tokens) ** 0.7),
                )
                for tokens in (32, 64, 128, 256, 512)
            ]
            verdict = Verdict(
                valid=valid,
                status="ok" if valid else rng.choice(["crash", "wrong", "timeout"]),
                points=tuple(points) if valid else (),
                feedback="fine" if valid else f"IndexError: index {rng.randrange(5)} is out of range",
            )
            told = Told(
                iteration=number,
                source=source,
                parents=(rng.choice(ids[-200:]),) if ids else (),
                operation="mutate" if number else "seed",
                proposer="openai:bench" if number else "seed",
                idea=f"SHARE {rng.random():.2f} -> {rng.random():.2f}" if number % 2 else "",
                verdict=verdict,
                hypervolume_gain=0.001 if rng.random() < 0.01 else 0.0,
            )
            events.append(told)
            if valid:
                ids.append(Candidate(source).id)
            if len(events) >= 400 or number == count - 1:
                archive.append(*events)
                events.clear()


def serve(root: Path) -> tuple[str, subprocess.Popen[str]]:
    """`vevolve web` in a process of its own, as soon as it says that it listens."""
    command = [sys.executable, "-m", "vevolve.evolve.cli", "web", str(root), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server.stdout.readline().split("/ shows")[0], server


def cpu_ms(server: subprocess.Popen[str]) -> float:
    """Milliseconds of CPU that a process has used; unlike the clock, it tells little of what else this machine does."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    server.wait(30)


def visit(browser: Any, url: str) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url, wait_until="load")
    page.wait_for_function(DRAWN)
    page.wait_for_function(PAINTED)
    found = {"first paint": page.evaluate(PAINTED), "plot drawn": page.evaluate("performance.now()")}
    page.close()
    return found


def told(found: list[dict[str, float]]) -> str:
    return ", ".join(f"{name} {statistics.median(one[name] for one in found):.0f} ms" for name in found[0])


def interact(page: Any, act: str, done: str) -> float:
    """Milliseconds from an action in the page to the frame after `done` holds."""
    return page.evaluate(
        f"""async () => {{
            const begin = performance.now();
            ({act})();
            while (!({done})()) await new Promise((next) => setTimeout(next, 1));
            return await ({FRAME})() - begin;
        }}"""
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--visits", type=int, default=5)
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("VEVOLVE_CHROMIUM") or shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        fill(Path(folder) / "bench", asked.candidates)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print(f"{asked.candidates:,} candidates, medians of {asked.visits}; load average {os.getloadavg()[0]:.1f}")
        visit(browser, "data:text/html,<p>a browser that has painted once")
        for view in ("", "/lineage"):
            found: list[dict[str, float]] = []
            for _ in range(asked.visits):
                url, server = serve(Path(folder))
                before = cpu_ms(server)
                one = visit(browser, f"{url}/run/bench{view}")
                found.append({**one, "CPU of the server since it listens": cpu_ms(server) - before})
                stop(server)
            print(f"{view or 'overview':10} at once after the server's start: {told(found)}")
        url, server = serve(Path(folder))
        visit(browser, f"{url}/run/bench")
        for view in ("", "/scatter", "/table", "/lineage", "/failures"):
            visits = [visit(browser, f"{url}/run/bench{view}") for _ in range(asked.visits)]
            print(f"{view or 'overview':10} {told(visits)}")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}/run/bench/scatter")
        page.wait_for_function(DRAWN)
        key = "() => document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'j', bubbles: true }))"
        move = (
            "() => { const svg = document.querySelector('.plot svg'), b = svg.getBoundingClientRect(); "
            "const place = { clientX: b.left + 150, clientY: b.top + 150, bubbles: true }; "
            "svg.dispatchEvent(new PointerEvent('pointermove', place)); }"
        )
        sort = (
            "() => { window.before = document.querySelector('#rows'); "
            "document.querySelector('#rows thead a').click(); }"
        )
        for name, act, done in (
            ("hover", move, "() => true"),
            ("key j", key, "() => document.querySelector('tr.here')"),
            ("sort", sort, "() => document.querySelector('#rows') !== window.before"),
        ):
            print(f"{name:10} {statistics.median(interact(page, act, done) for _ in range(asked.visits)):.0f} ms")
        browser.close()
        stop(server)
        print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

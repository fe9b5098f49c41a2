"""web, watch, report, plot, note, pin, prune, export --all and diff side by side, as typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from vevolve.archive import Archive, notes


def first(vevolve) -> str:
    return json.loads(vevolve("ls", "--order", "newest", "--status", "ok", "--json").out)[0]["id"]


def test_web_prints_where_it_serves_and_ends_on_ctrl_c(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "vevolve.evolve.cli", "web", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            with urllib.request.urlopen(line.split()[0] + "index.json") as answer:
                found = json.load(answer)
        finally:
            server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
    assert line.startswith("http://127.0.0.1:") and [one["name"] for one in found["runs"]] == ["finished"]
    assert "Traceback" not in said


def test_web_of_nothing_is_one_line(vevolve) -> None:
    outcome = vevolve("web", "nowhere/at/all")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1) and "nowhere/at/all" in outcome.err


def test_web_names_what_to_install(vevolve, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    outcome = vevolve("web")
    assert outcome.code == 1 and "pip install 'vevolve[web]'" in outcome.err


def test_watch_tells_a_finished_run_and_leaves(vevolve, run: Path) -> None:
    outcome = vevolve("watch")
    lines = outcome.out.splitlines()
    assert outcome.code == 0 and lines[0].startswith("run of circle_packing") and lines[-1].startswith("ended: ")
    events = [json.loads(line) for line in vevolve("watch", "--json").out.splitlines()]
    assert events[0]["kind"] == "started" and events[-1]["kind"] == "ended"


def test_a_report_is_written_once_and_never_over_another(vevolve, run: Path, tmp_path: Path) -> None:
    assert vevolve("report").code == 0
    assert "<h2>Question</h2>" in (tmp_path / "finished.html").read_text()
    again = vevolve("report")
    assert again.code == 2 and "exists already" in again.err
    assert vevolve("report", "--out", "r.md").code == 0 and (tmp_path / "r.md").read_text().startswith("# ` finished `")
    assert vevolve("report", "--out", "r.txt").code == 2


def test_plot_writes_a_figure(vevolve, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    outcome = vevolve("plot", "--out", "front.svg")
    assert outcome.code == 0, outcome.err
    assert "<svg" in (tmp_path / "front.svg").read_text()


@pytest.mark.parametrize("chosen", [[], ["--out", "mine.pdf"]], ids=["default", "named"])
def test_a_figure_is_never_drawn_over_another_file(vevolve, run: Path, tmp_path: Path, chosen: list[str]) -> None:
    file = tmp_path / (chosen[-1] if chosen else "front.svg")
    file.write_text("mine")
    outcome = vevolve("plot", *chosen)
    assert outcome.code == 2 and f"{file.name} exists already" in outcome.err
    assert file.read_text() == "mine"


def test_notes_and_pins_are_kept_beside_the_run_and_removed_with_it(vevolve, run: Path) -> None:
    id = first(vevolve)
    assert vevolve("note", id[:8], "looks right").code == vevolve("pin", id[:8]).code == 0
    said = notes.read(run / "archive.db")[id]
    assert said.pinned and [text for _, text in said.texts] == ["looks right"]
    assert vevolve("pin", id[:8], "--off").code == 0 and not notes.read(run / "archive.db")[id].pinned
    assert vevolve("note", "ffffffffff", "no such").code == 2
    assert vevolve("rm", "finished", "--yes").code == 0 and not run.exists()


def test_prune_asks_first_and_keeps_the_run_whole(vevolve, run: Path) -> None:
    before = vevolve("ls", "--json").out
    assert vevolve("prune", "finished", "--yes").code == 0
    assert vevolve("ls", "--json").out == before
    with Archive.open(run) as archive:
        archive.verify()
        assert all(entry.event.user == "(pruned)" for entry in archive.events(kinds=("proposed",)))


def test_a_pruned_run_is_not_replayed(vevolve, run: Path) -> None:
    vevolve("prune", "finished", "--yes")
    outcome = vevolve("run", "circle_packing/grid", "--model", f"replay:{run}", "-n", "2", "--workers", "inline")
    assert outcome.code != 0 and "pruned" in outcome.err


def test_export_all_writes_a_folder_once(vevolve, run: Path, tmp_path: Path) -> None:
    assert vevolve("export", "--all", "out").code == 0
    assert (tmp_path / "out" / "README.md").is_file() and list((tmp_path / "out" / "front").glob("*.py"))
    assert vevolve("export", "--all", "out").code == 2
    assert vevolve("export").code == 2


def test_programs_stand_side_by_side(vevolve, run: Path) -> None:
    outcome = vevolve("diff", first(vevolve), "--side-by-side")
    assert outcome.code == 0 and any(sign in outcome.out for sign in (" | ", " > ", " < "))
    assert "\x1b" not in outcome.out

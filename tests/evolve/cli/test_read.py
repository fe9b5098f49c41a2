import json
from pathlib import Path

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Compared, Selected, Told
from vevolve.evaluators.circle_packing.problem import problem
from vevolve.evolve.cli import panel, render, tables
from vevolve.types import Point

KEYS = {"id", "parents", "proposer", "status", "valid", "rank", "hypervolume_gain", "points"}
SPLITS = ("search", "select")
HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eback\x00 \x9b2J"


def listed(vevolve, *arguments) -> list:
    outcome = vevolve(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_ls_lists_every_candidate_with_the_promised_keys(vevolve, run: Path) -> None:
    found = listed(vevolve, "ls")
    assert len(found) >= 13
    assert all(set(one) >= KEYS for one in found)
    seed = found[0]
    assert (seed["parents"], seed["status"], seed["valid"]) == ([], "ok", True)
    assert seed["hypervolume_gain"] == pytest.approx(26 / 12)
    assert {point["split"] for point in seed["points"]} == {"search", "select"}
    assert {point["label"] for point in seed["points"]} == {"26 circles"}
    assert all(point["sum_radii"] == pytest.approx(26 / 12) for point in seed["points"])


def test_ls_filters_and_orders(vevolve, run: Path) -> None:
    assert {one["status"] for one in listed(vevolve, "ls", "--status", "ok")} == {"ok"}
    assert len(listed(vevolve, "ls", "--limit", "3")) == 3
    gains = [one["hypervolume_gain"] for one in listed(vevolve, "ls", "--order", "gain")]
    assert gains == sorted(gains, reverse=True)


def test_ls_runs_lists_runs_and_says_what_is_wrong_with_a_damaged_one(vevolve, run: Path) -> None:
    broken = run.parent / "broken"
    broken.mkdir()
    (broken / "archive.db").write_text("no database")
    by_name = {Path(row["run"]).name: row for row in listed(vevolve, "ls", "--runs")}
    assert by_name["finished"]["evaluations"] == 12
    assert "damaged" in by_name["broken"]["error"]
    assert "broken" in vevolve("ls", "--runs").out


def test_front_lists_rank_1_only_and_shows_the_seed_beside_it(vevolve, run: Path) -> None:
    found = listed(vevolve, "front", run)
    assert found
    assert {one["rank"] for one in found} == {1}
    table = vevolve("front").out
    assert "front of the select split" in table
    assert found[0]["id"][:10] in table
    assert listed(vevolve, "ls")[0]["id"][:10] in table


def test_the_front_as_json_holds_the_points_on_it_and_no_others(vevolve, run: Path) -> None:
    with Archive.open(run, write=True) as archive:
        points = [
            {"label": label, "split": split, "family": family, "sum_radii": radii}
            for split in ("search", "select")
            for label, family, radii in (("best", "", 2.62), ("poor", "", 0.5), ("best", "other", 2.63))
        ]
        search, select = (
            problem.verdict(*(Point(**point) for point in points if point["split"] == split))
            for split in ("search", "select")
        )
        told = Told(iteration=99, source="def pack(n): ...", operation="mutate", proposer="model", verdict=search)
        archive.append(told)
        best = archive.records()[-1].id
        archive.append(Selected(iteration=99, candidate=best, verdict=select, promoted=True))
    assert [point["label"] for point in next(one for one in listed(vevolve, "ls") if one["id"] == best)["points"]] == [
        "best", "poor", "best", "best", "poor", "best",
    ]  # fmt: skip
    (only,) = listed(vevolve, "front")
    assert (only["id"], only["rank"]) == (best, 1)
    assert only["points"] == [{"label": "best", "split": "select", "family": "", "sum_radii": 2.62}]
    assert [one["points"][0]["sum_radii"] for one in listed(vevolve, "front", "--family", "other")] == [2.63]
    assert "Did you mean 'other'?" in vevolve("front", "--family", "othre").err


def test_readers_tell_elites_from_what_is_unconfirmed(vevolve, run: Path) -> None:
    with Archive.open(run, write=True) as archive:
        first, best = archive.records(operation="seed")[0], archive.front("select")[0]
        comparison = Compared(
            iteration=best.iteration,
            candidate=best.id,
            incumbent=first.id,
            claims=("26 circles",),
            claimed=0.2,
            told=12,
            gains=(0.1,) * 11 + (-0.1,),
            workloads=("hash",),
            evidence=345.6,
            level=0.025,
            lower=0.31,
            elite=True,
        )
        before = vevolve("front").out
        archive.append(comparison)
    assert "on fresh documents" not in before
    table = vevolve("front").out
    assert "elite (e 346 of 40)" in table
    assert f"elite: won 11 of 12 fresh documents against {first.id[:10]} at 26 circles; e-value 346, 40 needed" in table
    (on_it,) = [one for one in listed(vevolve, "front") if one["id"] == best.id]
    assert (on_it["elite"], on_it["evidence"], on_it["level"], on_it["wins"]) == ("elite", 345.6, 0.025, 11)
    by_id = {one["id"]: one["elite"] for one in listed(vevolve, "ls")}
    assert by_id.pop(best.id) == "elite"
    assert by_id.pop(first.id) == "first"
    assert set(by_id.values()) <= {"unconfirmed", None}
    assert "mean gain, each cut at the claim, at least 31% of it (95 % confidence)" in vevolve("show", best.id).out
    with Archive.open(run, write=True) as archive:
        other = next(one for one in archive.records() if one.verdict.valid and not one.selected)
        selected = Selected(iteration=other.iteration, candidate=other.id, verdict=other.verdict, promoted=True)
        archive.append(selected)
    assert "\nunconfirmed: compared with none: it still waited" in vevolve("show", other.id).out


def test_any_unique_beginning_names_a_candidate(vevolve, run: Path) -> None:
    ids = [one["id"] for one in listed(vevolve, "ls")]
    for id in ids:
        length = next(n for n in range(1, 65) if sum(other.startswith(id[:n]) for other in ids) == 1)
        assert json.loads(vevolve("show", id[:length], "--json").out)["id"] == id


def test_readers_take_the_run_in_the_working_directory(vevolve, run: Path, monkeypatch) -> None:
    monkeypatch.chdir(run)
    assert len(listed(vevolve, "ls")) >= 13


def test_a_run_is_named_by_directory_name_part_of_it_or_not_at_all(vevolve, run: Path) -> None:
    everything = listed(vevolve, "ls")
    for name in (run, "finished", "finis", run / "archive.db"):
        assert listed(vevolve, "ls", name) == everything


def test_show_takes_a_prefix_and_gives_source_verdict_and_exchanges(vevolve, run: Path) -> None:
    evolved = next(one for one in listed(vevolve, "ls") if one["parents"] and one["valid"])
    shown = listed(vevolve, "show", evolved["id"][:8])
    assert set(shown) >= KEYS | {"source", "verdict", "exchanges"}
    assert shown["id"] == evolved["id"]
    assert "def pack" in shown["source"]
    assert shown["verdict"]["valid"] is True
    assert shown["exchanges"][0]["proposer"] == "offline"
    plain = vevolve("show", evolved["id"][:8], "--prompt").out
    assert evolved["id"] in plain
    assert "--- reply ---" in plain
    assert "sum_radii change" in plain
    assert "def pack" not in vevolve("show", evolved["id"][:8], "--no-code").out


def test_diff_is_against_the_parent_or_any_other(vevolve, run: Path) -> None:
    candidates = listed(vevolve, "ls")
    seed, evolved = candidates[0], next(one for one in candidates if one["parents"] == [candidates[0]["id"]])
    found = listed(vevolve, "diff", evolved["id"][:8])
    assert (found["a"], found["b"]) == (evolved["id"], seed["id"])
    assert found["diff"].splitlines()[0] == f"--- {seed['id'][:10]}"
    changed = [line for line in found["diff"].splitlines()[2:] if line[:1] in ("+", "-")]  # a mutation may only delete
    assert changed
    assert found["diff"] in vevolve("diff", evolved["id"][:8]).out
    assert "The programs are the same." in vevolve("diff", seed["id"], seed["id"][:6]).out


def test_export_writes_a_program_that_says_where_it_comes_from_and_still_runs(vevolve, run: Path) -> None:
    best = listed(vevolve, "front")[0]["id"]
    out = Path("best.py")
    outcome = vevolve("export", best[:8], "--out", out)
    assert outcome.code == 0
    assert best in out.read_text()
    assert "Read it before you run" in out.read_text().partition("def ")[0]
    namespace: dict = {}
    exec(out.read_text(), namespace)
    assert namespace["pack"](26).shape == (26, 3)
    again = vevolve("export", best[:8], "--out", out)
    assert (again.code, "exists already" in again.err) == (2, True)
    assert best in vevolve("export", best[:8]).out


def test_parameters_are_written_beside_an_exported_program(vevolve) -> None:
    Path("mine.py").write_text("import numpy as np\n\ndef pack(n):\n    return np.full((n, 3), 0.5) * [1, 1, 0]\n")
    Path("mine.safetensors").write_bytes(b"parameters")
    command = ["run", "mine.py", "--problem", "circle_packing", "-n", "1", "--workers", "inline"]
    assert vevolve(*command).code in (0, 3)
    seed = listed(vevolve, "ls")[0]["id"]
    assert vevolve("export", seed, "--out", "out.py").code == 0
    assert Path("out.safetensors").read_bytes() == b"parameters"
    Path("out.py").unlink()
    assert "out.safetensors exists already" in vevolve("export", seed, "--out", "out.py").err
    assert not Path("out.py").exists()


def test_rm_asks_deletes_only_what_is_the_runs_own_and_leaves_the_rest(vevolve, run: Path, monkeypatch) -> None:
    mine = run / "notes.txt"
    mine.write_text("mine")
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert (vevolve("rm", "finished").code, (run / "archive.db").exists()) == (1, True)
    outcome = vevolve("rm", "finished", "--yes")
    assert (outcome.code, "not its own, so left there: notes.txt" in outcome.out) == (0, True)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


def test_rm_removes_the_directory_of_a_run_with_nothing_else_in_it(vevolve, run: Path) -> None:
    assert vevolve("rm", run, "--yes").code == 0
    assert not run.exists()


def test_rm_leaves_settings_and_secrets_that_the_log_does_not_know(vevolve, run: Path) -> None:
    (run / "config.toml").write_text("mine = true\n")
    (run / "seed.key").write_text("00" * 16)
    (run / "archive.db.backup").write_text("mine too")
    outcome = vevolve("rm", run, "--yes")
    assert outcome.code == 0
    assert "left there: archive.db.backup, config.toml, seed.key." in outcome.out
    assert (run / "config.toml").read_text() == "mine = true\n"


def test_rm_touches_nothing_beside_a_database_that_is_not_a_runs(vevolve) -> None:
    import sqlite3

    with sqlite3.connect("archive.db") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    Path("config.toml").write_text("mine = true\n")
    outcome = vevolve("rm", ".", "--yes")
    assert (outcome.code, "not of a vEvolve run" in outcome.err) == (1, True)
    assert {path.name for path in Path().iterdir()} >= {"archive.db", "config.toml"}


def test_rm_refuses_a_run_that_is_being_written(vevolve, run: Path) -> None:
    with Archive.open(run, write=True):
        outcome = vevolve("rm", run, "--yes")
    assert (outcome.code, "being written by another process" in outcome.err) == (1, True)
    assert (run / "archive.db").exists()


@pytest.fixture
def hostile(run: Path) -> str:
    """The id of a candidate whose every text tries to reach the terminal."""
    with Archive.open(run, write=True) as archive:
        source = f"# {HOSTILE}\ndef pack(n):\n    return None\n"
        parent = archive.records()[0].id
        verdict = problem.invalid(HOSTILE, "crash")
        archive.append(
            Told(
                iteration=99, source=source, parents=(parent,), operation="mutate", proposer=HOSTILE, idea=HOSTILE,
                verdict=verdict,
            )
        )  # fmt: skip
        return archive.records()[-1].id


def test_text_of_models_and_candidates_reaches_the_terminal_as_text_alone(vevolve, hostile: str) -> None:
    for arguments in (["ls"], ["show", hostile[:8], "--prompt"], ["diff", hostile[:8]], ["export", hostile[:8]]):
        said = vevolve(*arguments).out
        assert "red" in said
        assert "[bold]markup[/bold]" in said
        assert not set(said) & {"\x1b", "\x07", "\x00", "\x9b", "\u202e"}
    for arguments in (["ls", "--json"], ["show", hostile[:8], "--json"]):
        said = vevolve(*arguments).out
        assert said.isascii()
        assert "\x1b" not in said


def test_front_refuses_the_sealed_split_which_is_on_no_front(vevolve, run: Path) -> None:
    outcome = vevolve("front", "--split", "sealed")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Known: search, select." in outcome.err


def test_an_id_of_another_run_is_answered_with_the_run_that_has_it(vevolve, run: Path) -> None:
    vevolve("run", "circle_packing/grid", "-n", "1", "--workers", "inline", "--directory", "runs/a")
    there = {one["id"] for one in listed(vevolve, "ls", "runs/a")}
    id = next(one["id"] for one in listed(vevolve, "ls", run) if one["id"] not in there)[:12]
    for command in (["show", id], ["diff", id], ["export", id], ["pin", id], ["note", id, "nice"]):
        outcome = vevolve(*command, "--run", "runs/a")
        assert outcome.code == 2
        assert outcome.err == (
            f"error: No candidate '{id}' in the run runs/a. The run runs/finished has one: add --run runs/finished.\n"
        )


def test_an_id_of_no_run_is_answered_with_the_run_that_was_searched_and_no_guess(vevolve, run: Path) -> None:
    outcome = vevolve("show", "0123456789abcdef")
    assert (outcome.code, outcome.err) == (
        2,
        "error: No candidate '0123456789abcdef' in the run runs/finished. `vevolve ls runs/finished` lists its "
        "candidates; --run names another run.\n",
    )


def test_show_tells_both_splits_of_what_was_promoted_and_calls_the_seed_the_start(vevolve, run: Path) -> None:
    with Archive.open(run, write=True) as archive:
        verdicts = [problem.verdict(Point(label="26 circles", split=split, sum_radii=2.6)) for split in SPLITS]
        archive.append(
            Told(iteration=99, source="def pack(n): ...", operation="mutate", proposer="m", verdict=verdicts[0])
        )
        seed, best = archive.records()[0].id, archive.records()[-1].id
        archive.append(Selected(iteration=99, candidate=best, verdict=verdicts[1], promoted=True))
    shown = vevolve("show", best, "--no-code").out
    assert "promoted: valid on both splits" in shown
    search, select = shown.index("on the search split, "), shown.index("on the select split, ")
    assert shown.index("valid, ", search) < shown.index("search  26 circles") < select
    assert select < shown.index("valid, ", select) < shown.index("select  26 circles")
    start = vevolve("show", seed, "--no-code").out
    assert "the start of the run" in start
    assert "promoted" not in start


def test_the_layers_of_a_verdict_name_their_split(capsys) -> None:
    layers = [{"layer": 8, "error": 0.25}, {"layer": 21, "error": 0.5}]
    found = problem.verdict(
        Point(label="32 tokens", split="search", sum_radii=1.0),
        report={"points": {"recorded": {"32 tokens": {"layers": layers}}}},
    )
    render.verdict(found, problem.objectives)
    assert "by layer on the search split, averaged over KV heads:\n" in capsys.readouterr().out


def test_layers_stand_in_the_models_order_and_rows_without_a_number_in_their_own(capsys) -> None:
    def column(layers: list[dict[str, object]]) -> list[str]:
        report = {"points": {"recorded": {"32 tokens": {"layers": layers}}}}
        capsys.readouterr()
        render.layers(problem.verdict(Point(label="32 tokens", split="search", sum_radii=1.0), report=report))
        return [row.split()[0] for row in capsys.readouterr().out.splitlines()[2:]]

    assert column([{"layer": number, "error": number / 8} for number in (8, 21, 12, 2)]) == ["2", "8", "12", "21"]
    assert column([{"part": "z", "error": 0.5}, {"part": "a", "error": 0.25}]) == ["z", "a"]


def test_a_gain_that_is_rounding_alone_is_not_shown(vevolve, run: Path) -> None:
    with Archive.open(run, write=True) as archive:
        verdict = problem.verdict(Point(label="26 circles", split="search", sum_radii=1.0))
        for iteration, gain in ((98, 4.98e-18), (99, 0.25)):
            told = Told(
                iteration=iteration, source=f"x = {iteration}", operation="mutate", proposer="m", verdict=verdict,
                hypervolume_gain=gain,
            )  # fmt: skip
            archive.append(told)
            said = panel.describe(told, None)  # type: ignore[arg-type]  # the run is only asked at its start
            assert ("hypervolume +" in said) == (iteration == 99)
        ids = [record.id for record in archive.records()[-2:]]
    assert "e-18" not in vevolve("ls").out
    assert "hypervolume gain -" in vevolve("show", ids[0], "--no-code").out
    assert "hypervolume gain 0.25" in vevolve("show", ids[1], "--no-code").out


@pytest.mark.parametrize(("count", "words"), [(1, "1 process\n"), (2, "2 processes\n")])
def test_a_verdict_counts_its_processes_in_english(capsys, count: int, words: str) -> None:
    verdict = problem.verdict(Point(label="26 circles", split="search", sum_radii=1.0))
    verdict = verdict.model_copy(update={"cost": verdict.cost.model_copy(update={"processes": count})})
    render.verdict(verdict, problem.objectives)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_reader_leaves_a_terminal_on_its_right(vevolve, run: Path, monkeypatch, width: int) -> None:
    monkeypatch.setattr(tables, "_width", lambda: width)
    named = run.rename(run.parent / "20261122T005444-circle_packing-grid-of_a_long_name-ccc4")
    for arguments in (["ls"], ["front"], ["ls", "--runs"], ["leaderboard", "-p", "kv_eviction"]):
        outcome = vevolve(*arguments)
        assert outcome.code == 0
        assert max(map(len, outcome.out.splitlines())) <= width, arguments
    assert str(Path("runs") / named.name) in vevolve("ls", "--runs").out
    cut = [text for text in vevolve("ls").out.splitlines() if text.endswith("…")]
    assert all(len(text) == width for text in cut)
    board = vevolve("leaderboard", "-p", "kv_eviction").out
    assert all(name in board for name in ("error needle", "perplexity", "log p", "published"))

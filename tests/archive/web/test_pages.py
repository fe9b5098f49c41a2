"""What the pages say, asked as their JSON twins."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.archive.web.conftest import HOSTILE, SEED, objectives, started, told

from vevolve.archive import Archive, notes
from vevolve.archive.events import Proposed
from vevolve.archive.improvements import NOTHING
from vevolve.archive.web.views.run import _said
from vevolve.types import Candidate, Verdict

SPOIL = "UPDATE events SET event = 'x' WHERE seq = 1"
Serve = Callable[[Path], Any]
RUN = "/run/20260101-plain"
VIEWS = ("", "/scatter", "/table", "/lineage", "/compare", "/failures", "/costs")


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_has_a_twin_that_is_json(runs: Path, serve: Serve, view: str) -> None:
    served = serve(runs)
    status, headers, text = served.ask(RUN + view)
    assert status == 200 and headers["content-type"].startswith("text/html") and f"{RUN}{view}.json" in text
    assert served.data(f"{RUN}{view}.json")["run"] == "20260101-plain"


def test_runs_are_listed_with_what_they_found(runs: Path, serve: Serve) -> None:
    (one,) = serve(runs).data("/index.json")["runs"]
    assert (one["problem"], one["evaluations"], one["valid"], one["state"]) == ("sparse_decode", 3, 2, "ended")


def test_a_single_run_can_be_served(runs: Path, serve: Serve) -> None:
    assert [one["name"] for one in serve(runs / "20260101-plain").data("/index.json")["runs"]] == ["20260101-plain"]


@pytest.mark.parametrize("damage", ["foreign", "text", "newer", "log"])
def test_a_foreign_or_damaged_database_gets_one_clear_line(runs: Path, serve: Serve, damage: str) -> None:
    file = runs / "broken" / "archive.db"
    file.parent.mkdir()
    if damage == "text":
        file.write_text("not a database at all, but quite some text" * 40)
    elif damage == "foreign":
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE t (x)")
    else:
        shutil.copy(runs / "20260101-plain" / "archive.db", file)
        with sqlite3.connect(file) as db:
            db.execute("PRAGMA user_version = 99" if damage == "newer" else SPOIL)
    served = serve(runs)
    listed = {one["name"]: one["error"] for one in served.data("/index.json")["runs"]}
    status, _, text = served.ask("/run/broken")
    assert listed["20260101-plain"] is None
    assert listed["broken"] and "\n" not in listed["broken"] and "Traceback" not in text
    assert status == 500 and text.count('class="fault"') == 1


def test_an_unknown_run_or_candidate_is_told_with_what_there_is(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    assert served.ask("/run/20260101-plan")[0] == 404
    assert "Did you mean &#39;20260101-plain&#39;?" in served.ask("/run/20260101-plan")[2]
    assert served.ask(f"{RUN}/c/ffffffff")[0] == 404


@pytest.mark.parametrize(
    ("query", "iterations"),
    [
        ("", [3, 2, 1, 0]),
        ("q=smaller", [1]),
        ("q=outofrange", []),
        ("q=out+range", [2]),
        ("q=code:.abs()", [3]),
        ("status=crash", [2]),
        ("proposer=seed", [0]),
        ("front=1&sort=iteration", [3]),
        ("sort=-gain", [0, 3, 1, 2]),
        ("sort=error", [3, 1, 0, 2]),
        ("x0=0.05&x1=0.15&y0=0.7&y1=1", [1]),
        ("x0=nan&x1=1&y0=0&y1=1", [3, 2, 1, 0]),
        ("page=9", []),
        ("page=-1", [3, 2, 1, 0]),
        ("sort=nothing&page=1e9", [3, 2, 1, 0]),
    ],
)
def test_the_table_is_what_its_address_says(runs: Path, serve: Serve, query: str, iterations: list[int]) -> None:
    found = serve(runs).data(f"{RUN}/table.json?{query}")
    assert [row["iteration"] for row in found["rows"]] == iterations


def test_facets_count_what_the_other_choices_leave(runs: Path, serve: Serve) -> None:
    found = serve(runs).data(f"{RUN}/table.json?proposer=openai:gpt")
    assert found["facets"]["status"] == [["ok", 2], ["crash", 1]]
    assert ["seed", 1] in found["facets"]["proposer"]


def test_a_candidate_says_what_changed_where_its_proposer_did_not(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    rows = {row["iteration"]: row for row in served.data(f"{RUN}/table.json")["rows"]}
    assert rows[1]["idea"] == "smaller pages"
    assert rows[3]["idea"] == "score(): `return keys @ query` -> `return (keys @ query).abs()`"


def test_a_candidate_stands_against_its_parent_the_seed_or_any_other(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    id = served.data(f"{RUN}/table.json")["rows"][0]["id"]
    parent = served.data(f"{RUN}/c/{id[:8]}.json")
    seed = served.data(f"{RUN}/c/{id}.json?against=seed")
    named = served.data(f"{RUN}/c/{id}.json?against={parent['parents'][0]['id'][:9]}")
    assert parent["base"]["iteration"] == 1 and seed["base"]["iteration"] == 0 and named["base"]["iteration"] == 1
    error = parent["points"][1]["cells"][1]
    assert (error["value"], error["was"], error["better"]) == (pytest.approx(0.4 / 3), 0.4, True)
    assert parent["exchanges"][0]["reply"] == "Reply 3."
    assert [one["iteration"] for one in parent["ancestors"]] == [1, 0]


def test_failures_are_grouped_by_status_and_first_line(runs: Path, serve: Serve) -> None:
    with Archive.open(runs / "20260101-plain", write=True) as archive:
        archive.append(told(4, "x = 4", status="crash", feedback="IndexError: out of range\nelsewhere"))
        archive.append(told(5, "x = 5", status="wrong", feedback="ids beyond n"))
    groups = serve(runs).data(f"{RUN}/failures.json")["groups"]
    assert [(one["status"], one["line"], one["count"]) for one in groups] == [
        ("crash", "IndexError: out of range", 2),
        ("wrong", "ids beyond n", 1),
    ]


def test_failures_that_differ_in_their_numbers_alone_are_one_group(runs: Path, serve: Serve) -> None:
    with Archive.open(runs / "20260101-plain", write=True) as archive:
        for number, overlap in ((4, "1.00e-01"), (5, "-3"), (6, "0.25")):
            text = f"circles x1 overlap by {overlap}; 1e-09 is excused"
            archive.append(told(number, f"x = {number}", status="wrong", feedback=text))
    groups = serve(runs).data(f"{RUN}/failures.json")["groups"]
    assert [(one["line"], one["count"]) for one in groups] == [
        ("circles x1 overlap by …; 1e-09 is excused", 3),
        ("IndexError: out of range", 1),
    ]


def test_a_long_way_without_gains_becomes_one_line_of_the_lineage(tmp_path: Path, serve: Serve) -> None:
    source, steps = SEED, 250
    with Archive.create(tmp_path / "r", started()) as archive:
        archive.append(told(0, SEED, (0.9, 0.9), operation="seed"))
        for number in range(1, steps + 1):
            parent, source = Candidate(source).id, f"N = {number}\n{SEED}"
            points = (0.1, 0.1) if number == steps else (0.95, 0.95)
            archive.append(told(number, source, points, parents=(parent,)))
    found = serve(tmp_path / "r").data("/run/r/lineage.json")
    assert [node["iteration"] for node in found["nodes"]] == [0, steps]
    assert [(edge["between"], edge["first"]) for edge in found["edges"]] == [(steps - 1, True)]
    assert found["passed"] == steps - 1 and len(found["story"]["steps"]) == steps + 1


def test_costs_are_by_proposer_and_by_what_was_gained(runs: Path, serve: Serve) -> None:
    (row,) = serve(runs).data(f"{RUN}/costs.json")["rows"]
    assert (row["proposer"], row["input_tokens"]) == ("openai:gpt", 3000)
    assert row["usd_per_gain"] == pytest.approx(0.03 / 0.3)


def test_the_lineage_keeps_what_mattered_and_folds_the_rest(runs: Path, serve: Serve) -> None:
    found = serve(runs).data(f"{RUN}/lineage.json")
    nodes = {node["iteration"]: node for node in found["nodes"]}
    assert sorted(nodes) == [0, 1, 3] and nodes[1]["folded"] == [0, 1]
    assert [step["iteration"] for step in found["story"]["steps"]] == [0, 1, 3]
    assert [nodes[k]["x"] for k in (0, 1, 3)] == sorted(nodes[k]["x"] for k in (0, 1, 3))


def test_no_two_candidates_of_a_lane_overlap(runs: Path, serve: Serve) -> None:
    sources = [SEED]
    with Archive.open(runs / "20260101-plain", write=True) as archive:
        for number in range(4, 60):
            source = f"{SEED}\nN = {number}\n"
            parent = Candidate(sources[(number * 7) % len(sources)]).id
            archive.append(told(number, source, (0.5, 0.5), parents=(parent,), hypervolume_gain=0.01))
            sources.append(source)
    found = serve(runs).data(f"{RUN}/lineage.json")
    places = [(node["lane"], node["iteration"]) for node in found["nodes"]]
    assert len(set(places)) == len(places) == 59 and found["lanes"] == 1 + max(lane for lane, _ in places)


def test_two_candidates_are_compared_and_differences_alone_on_request(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    ids = {row["iteration"]: row["id"] for row in served.data(f"{RUN}/table.json")["rows"]}
    both = served.data(f"{RUN}/compare.json?a={ids[0]}&b={ids[3]}")
    only = served.data(f"{RUN}/compare.json?a={ids[0]}&b={ids[3]}&only=1")
    assert both["tables"] and not only["tables"]
    assert both["idea"] == "PAGE 16 -> 8; score(): `return keys @ query` -> `return (keys @ query).abs()`"
    assert served.data(f"{RUN}/compare.json?a={ids[0]}&b={ids[0]}")["same"]


def test_the_points_of_the_plot_are_the_archives(runs: Path, serve: Serve) -> None:
    found = serve(runs).data(f"{RUN}/points.json")
    with Archive.open(runs / "20260101-plain") as archive:
        expected = sorted((point["traffic"], point["error"]) for _, point in archive.front_points())
    drawn = sorted((found["columns"]["traffic"][k], found["columns"]["error"][k]) for k in found["front"])
    assert drawn == [pytest.approx(pair, rel=1e-5) for pair in expected]


def test_notes_and_pins_are_shown(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    id = served.data(f"{RUN}/table.json")["rows"][0]["id"]
    notes.note(runs / "20260101-plain" / "archive.db", id, "worth a <b>paper</b>")
    notes.pin(runs / "20260101-plain" / "archive.db", id)
    assert [row["id"] for row in served.data(f"{RUN}/table.json?pinned=1")["rows"]] == [id]
    text = served.ask(f"{RUN}/c/{id}")[2]
    assert "worth a &lt;b&gt;paper&lt;/b&gt;" in text


def test_what_is_told_while_the_page_is_open_is_there_at_the_next_look(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    before = served.data(f"{RUN}.json")["counters"]["evaluations"]
    with Archive.open(runs / "20260101-plain", write=True) as archive:
        archive.append(told(9, "x = 9", (0.01, 0.01)))
        assert served.data(f"{RUN}.json")["counters"]["evaluations"] == before + 1
        assert served.data(f"{RUN}.json")["state"] == "ended"


def test_a_run_that_takes_the_name_of_another_is_read_anew(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    served.data(f"{RUN}.json")
    shutil.rmtree(runs / "20260101-plain")
    with Archive.create(runs / "20260101-plain", started(problem="another")) as archive:
        archive.append(told(0, "x = 1", (0.5, 0.5), operation="seed"))
    assert served.data(f"{RUN}.json")["problem"] == "another"


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_models_and_candidates_never_becomes_markup(tmp_path: Path, serve: Serve, text: str) -> None:
    with Archive.create(
        tmp_path / "runs" / "r", started(problem=text, seed=text, config={"models": [text]})
    ) as archive:
        source = f"# {text}\nX = 1\n"
        seed = Candidate(SEED).id
        archive.append(told(0, SEED, (0.5, 0.5), operation="seed"))
        archive.append(
            Proposed(iteration=1, attempt=0, proposer=text, system=text, user=text, reply=text, model=text),
            told(
                1, source, (0.1, 0.1), idea=text, proposer=text, operation=text, parents=(seed,), hypervolume_gain=1.0
            ),
            told(
                2,
                text,
                status="crash",
                feedback=text,
                parents=(seed,),
                verdict=Verdict(valid=False, status="crash", feedback=text, report={text: [{text: text}]}),
            ),
        )
        ids = [Candidate(source).id, Candidate(text).id]
    notes.note(tmp_path / "runs" / "r" / "archive.db", ids[0], text)
    served = serve(tmp_path / "runs")
    addresses = [f"/run/r{view}" for view in VIEWS] + [f"/run/r/c/{id}" for id in ids] + ["/"]
    addresses += [f"/run/r/table?q={quote(text)}&status={quote(text)}", f"/run/{quote(text, safe='')}"]
    for address in addresses:
        page = served.ask(address)[2]
        for mark in (
            "<script>window",
            "<img",
            "<svg onload",
            "<iframe",
            "</textarea>",
            'href="javascript',
            "\u202e",
            "\x1b",
        ):
            assert mark not in page, (address, mark)
        assert page.count("<script") == 1 and "49{%" not in page


def test_three_objectives_are_shown(tmp_path: Path, serve: Serve) -> None:
    with Archive.create(tmp_path / "r", started(objectives=objectives(3))) as archive:
        archive.append(told(0, SEED, (0.5, 0.5, 2.0), (0.6, 0.4, 3.0), operation="seed"))
    served = serve(tmp_path / "r")
    assert 'data-plot="parallel"' in served.ask("/run/r/scatter")[2]
    assert served.data("/run/r/points.json?x=speed&y=error")["columns"]["speed"] == [2.0, 3.0]


def test_one_objective_is_drawn_over_iterations(tmp_path: Path, serve: Serve) -> None:
    with Archive.create(tmp_path / "r", started(objectives=objectives(1))) as archive:
        archive.append(told(0, SEED, (0.5,), operation="seed"))
    assert serve(tmp_path / "r").data("/run/r/points.json")["columns"] == {"iteration": [0], "traffic": [0.5]}


def test_an_empty_run_has_every_page(tmp_path: Path, serve: Serve) -> None:
    Archive.create(tmp_path / "r", started()).close()
    served = serve(tmp_path / "r")
    shown = {view: served.ask(f"/run/r{view}")[0] for view in VIEWS if view != "/compare"}
    assert set(shown.values()) == {200}
    assert served.ask("/run/r/compare")[0] == 400
    assert NOTHING in served.ask("/run/r")[2]


def test_the_stream_begins_where_the_reader_left_off(runs: Path, serve: Serve) -> None:
    import http.client

    served = serve(runs)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", f"{RUN}/events", headers={"Last-Event-ID": "3"})
    answer = connection.getresponse()
    text = ""
    while "data: " not in text or not text.endswith("\n\n"):
        text += answer.read1().decode()
    connection.close()
    message = json.loads(text.split("data: ")[1].split("\n")[0])
    assert [line["iteration"] for line in message["lines"]] == [1, 2, 3, 3, None] and message["state"] == "ended"
    assert f"id: {message['head']}\n" in text and answer.headers["content-type"].startswith("text/event-stream")


def test_a_fault_that_names_its_proposer_does_not_name_it_twice() -> None:
    fault = "openai:m answered 500: broken. Given up after 5 retries."
    failed = Proposed(iteration=1, attempt=0, proposer="openai:m", system="", user="", error=fault)
    assert _said(failed) == ("proposer", fault, None)
    unapplied = failed.model_copy(update={"error": "The SEARCH text stands nowhere in the program."})
    assert _said(unapplied) == ("proposer", "openai:m: The SEARCH text stands nowhere in the program.", None)

"""What is appended is what is read back, and every conclusion follows from it."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Ended, Proposed, Resumed, Selected, Started, Told
from vevolve.errors import ArchiveError, BadInput, UnknownName
from vevolve.types import Bound, Candidate, Containment, Cost, Point, Verdict

Tell = Callable[..., Told]


def name(source: str) -> str:
    return Candidate(source).id


def test_a_candidate_is_read_back_as_it_was_told(archive: Archive, tell: Tell) -> None:
    verdict = Verdict(
        valid=True,
        stage="search",
        points=(Point(label="32 tokens", traffic=0.1, error=0.5, tokens=32, method="top"),),
        bounds=(Bound(epsilon=0.1, delta=0.1, split="search", rate=0.05, documents=9, upper=0.2),),
        feedback="worst layer: 3",
        report={"layers": [1, 2], "nothing": math.nan},
        cost=Cost(wall_s=1.5, processes=4),
        containment=Containment(level="L2", layers={"seccomp": "active"}),
        problem="c0ffee",
    )
    archive.append(tell(0, "x = 0\n", (0.5, 0.5), operation="seed"))
    parent = name("x = 0\n")
    told = tell(7, "x = 1\n", verdict=verdict, parents=(parent,), params="AAEC", idea="less", hypervolume_gain=0.25)
    archive.append(told)

    record = archive.record(Candidate("x = 1\n", b"\0\1\2").id)

    assert record.candidate == Candidate("x = 1\n", b"\0\1\2")
    assert record.tree_hash == record.candidate.tree_hash
    assert (record.iteration, record.operation, record.proposer, record.idea) == (7, "mutate", "offline", "less")
    assert (record.parents, record.hypervolume_gain) == ((parent,), 0.25)
    assert (record.status, record.valid, record.promoted, record.reference) == ("ok", True, False, False)
    assert record.verdict == verdict.model_copy(update={"report": {"layers": [1, 2], "nothing": None}})
    assert record.points == verdict.points
    assert isinstance(record.points[0].model_dump()["tokens"], int)
    assert record.selected is None


def test_the_log_gives_back_every_event_in_order(archive: Archive, start: Callable[..., Started], tell: Tell) -> None:
    told = tell(1, "x = 1", (0.1, 0.2))
    events = [
        Asked(iteration=1, operation="mutate", parents=("ab",), donors=("cd",), proposer="offline"),
        Proposed(iteration=1, attempt=0, proposer="offline", system="s", user="u", reply="r", usd=None),
        told,
        Selected(iteration=1, candidate=name("x = 1"), verdict=told.verdict, promoted=True),
        Ended(reason="budget"),
    ]
    archive.append(*events[:3])
    archive.append(*events[3:])

    entries = list(archive.events())

    assert [entry.event for entry in entries] == [start(), *events]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[2].time == entries[1].time <= entries[4].time
    assert [entry.event for entry in archive.events(after=2, kinds=["told", "ended"])] == [told, events[-1]]


def test_records_are_filtered_and_ordered(archive: Archive, tell: Tell, fail: Callable[..., Verdict]) -> None:
    archive.append(tell(0, "a = 0", (1, 1), operation="seed"))
    archive.append(tell(2, "b = 0", (1, 1), hypervolume_gain=0.1), tell(1, "c = 0", (1, 1), hypervolume_gain=0.3))
    archive.append(tell(3, "d = 0", verdict=fail("crash", "\n  \nTypeError: no\nmore")))
    archive.append(tell(4, "e = (", verdict=fail("syntax", "line 1")))

    def sources(**filters: object) -> str:
        return "".join(record.source[0] for record in archive.records(**filters))  # type: ignore[arg-type]

    assert sources() == "abcde"
    assert sources(order="newest", limit=2) == "ed"
    assert sources(order="gain", valid=True) == "cba"
    assert sources(valid=False) == "de"
    assert sources(status="ok", operation="mutate") == "bc"
    assert sources(status=["crash", "syntax"]) == "de"
    assert [r.first_error_line for r in archive.records()] == ["", "", "", "TypeError: no", "line 1"]
    assert archive.records(status="syntax")[0].tree_hash is None


def test_an_id_is_found_by_its_beginning_and_the_nearest_is_offered(archive: Archive, tell: Tell) -> None:
    by_start: dict[str, list[str]] = {}
    number = 0
    while max(map(len, by_start.values()), default=0) < 2:
        by_start.setdefault(name(f"x = {number}")[:4], []).append(f"x = {number}")
        number += 1
    twins = max(by_start.values(), key=len)
    archive.append(*(tell(i, source, (1, 1)) for i, source in enumerate([*twins, "alone = 1"])))
    alone = name("alone = 1")

    assert archive.record(alone[:7].upper()).id == alone
    others = [record.id for record in archive.records() if record.id != alone]
    shortest = next(n for n in range(1, 64) if not any(other.startswith(alone[:n]) for other in others))
    assert archive.record(alone[:shortest]).id == alone
    with pytest.raises(BadInput) as ambiguous:
        archive.record(name(twins[0])[:4])
    assert all(name(twin)[:12] in str(ambiguous.value) for twin in twins)
    with pytest.raises(BadInput, match="found nothing"):
        archive.record("")
    wrong = alone[:7] + ("0" if alone[7] != "0" else "1")
    with pytest.raises(UnknownName) as unknown:
        archive.record(wrong)
    assert unknown.value.nearest == alone[:8]
    assert len(str(unknown.value)) < 200
    with pytest.raises(UnknownName):
        archive.record("%%%%")


def test_the_event_that_told_a_candidate_is_the_one_that_its_record_is_of(
    archive: Archive, tell: Tell, fail: Callable[..., Verdict]
) -> None:
    archive.append(tell(1, "x = 1", idea="none", verdict=fail("unapplied")))
    told, other = tell(2, "x = 1", (0.1, 0.5), idea="\ud800"), tell(3, "y = 1", (0.2, 0.4))
    archive.append(told, other, tell(4, "x = 1", verdict=fail("duplicate")))

    assert archive.told(name("x = 1")) == told
    assert archive.told(name("y = 1")[:8]) == other
    with pytest.raises(UnknownName):
        archive.told("%%%%")


def test_a_program_told_twice_keeps_its_first_row_and_counts_twice(
    archive: Archive, tell: Tell, fail: Callable[..., Verdict]
) -> None:
    archive.append(tell(1, "x = 1", (0.1, 0.5), idea="first"))
    archive.append(tell(2, "x = 1", idea="second", verdict=fail("duplicate")))
    archive.append(tell(3, "x = 1", (0.01, 0.01), idea="third"))

    (record,) = archive.records()
    assert (record.idea, record.status, record.iteration) == ("first", "ok", 1)
    assert [point["traffic"] for point in record.points] == [0.1]
    assert archive.totals().iterations == 3
    assert archive.totals().failures == {"duplicate": 1}


def test_an_examination_replaces_the_row_of_a_text_that_never_had_one(
    archive: Archive, tell: Tell, fail: Callable[..., Verdict]
) -> None:
    archive.append(tell(0, "seed = 0", (1, 1), operation="seed"))
    seed = name("seed = 0")
    archive.append(tell(1, "x = 1", verdict=fail("unapplied"), parents=(seed,)))
    assert (archive.ranks(), archive.children()) == ({seed: 1}, {seed: 1})
    archive.append(tell(2, "x = 1", (0.1, 0.5), parents=(seed,)))

    assert archive.record(name("x = 1")).status == "ok"
    assert archive.ranks() == {name("x = 1"): 1, seed: 2}
    assert archive.children() == {seed: 1}
    archive.verify()


def test_a_duplicate_is_found_by_its_syntax_tree(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "def f(x):\n    return x + 1\n", (1, 1)), tell(2, "broken (", (1, 1)))

    assert archive.duplicate_of(Candidate("def f(x): # note\n    'doc'\n    return (x+1)")) == name(
        "def f(x):\n    return x + 1\n"
    )
    assert archive.duplicate_of(Candidate("def f(x):\n    return x + 2\n")) is None
    assert archive.duplicate_of(Candidate("broken (")) == name("broken (")
    assert archive.duplicate_of(Candidate("broken [")) is None


def test_selecting_what_was_never_told_leaves_the_archive_as_it_was(archive: Archive, tell: Tell) -> None:
    told = tell(1, "a = 1", (0.1, 0.1))
    with pytest.raises(ValueError, match="never told"):
        archive.append(told, Selected(iteration=1, candidate="0" * 64, verdict=told.verdict, promoted=True))
    assert archive.records() == [] and len(list(archive.events())) == 1
    archive.append(told)
    archive.verify()


def test_an_event_that_could_not_be_read_back_is_refused(archive: Archive, tell: Tell) -> None:
    bound = Bound(epsilon=0.1, delta=0.1, split="search", rate=math.nan, documents=9, upper=0.2)
    with pytest.raises(ValidationError, match="rate"):
        archive.append(tell(1, "a = 1", (0.1, 0.1)), tell(2, "b = 1", verdict=Verdict(valid=True, bounds=(bound,))))
    assert archive.records() == [] and len(list(archive.events())) == 1


def test_lineage_and_prompts(archive: Archive, tell: Tell) -> None:
    a, b, c, d = (name(f"{letter} = 1") for letter in "abcd")
    archive.append(tell(0, "a = 1", (1, 1), operation="seed"), tell(0, "b = 1", (1, 1), operation="seed"))
    archive.append(
        Proposed(iteration=1, attempt=0, proposer="p", system="s", user="u", reply="bad \ud800", usd=0.25),
        Proposed(iteration=1, attempt=1, proposer="p", system="s", user="u2", reply="good", usd=0.5),
        tell(1, "c = 1", (0.5, 0.5), parents=(a, b), operation="crossover"),
    )
    archive.append(tell(2, "d = 1", (0.5, 0.5), parents=(c,)))

    assert [record.id for record in archive.ancestors(d)] == [c, a]
    assert archive.ancestors(a) == []
    assert archive.children() == {a: 1, b: 1, c: 1}
    assert [exchange.reply for exchange in archive.prompts(c)] == ["bad \ud800", "good"]
    assert archive.prompts(a) == []
    assert [exchange.user for exchange in archive.proposed(1)] == ["u", "u2"] and archive.proposed(2) == []


def test_totals_count_what_was_examined_and_what_it_cost(
    archive: Archive, tell: Tell, fail: Callable[..., Verdict]
) -> None:
    def exchange(iteration: int, proposer: str, usd: float | None, error: str = "") -> Proposed:
        return Proposed(
            iteration=iteration,
            attempt=0,
            proposer=proposer,
            system="",
            user="",
            usd=usd,
            input_tokens=100,
            output_tokens=10,
            error=error,
        )

    archive.append(tell(0, "seed = 1", (1, 1), operation="seed", proposer="seed"))
    assert archive.totals().iterations == 0
    archive.append(exchange(1, "m", 0.25), tell(1, "a = 1", (1, 1), proposer="m"))
    archive.append(exchange(2, "m", 0.5), tell(2, "b = (", verdict=fail("syntax"), proposer="m"))
    archive.append(exchange(3, "n", None), tell(3, "c", verdict=fail("unapplied"), proposer="n"))
    archive.append(exchange(4, "n", 0.0, "timed out"), tell(4, "a = 1", verdict=fail("duplicate"), proposer="n"))

    totals = archive.totals()
    assert (totals.iterations, totals.evaluations, totals.valid) == (4, 2, 1)
    assert (totals.usd, totals.unpriced, totals.input_tokens, totals.output_tokens) == (0.75, 1, 400, 40)
    assert totals.failures == {"duplicate": 1, "syntax": 1, "unapplied": 1}
    assert totals.by_proposer["m"].model_dump() == {
        "told": 2,
        "valid": 1,
        "replies": 2,
        "failures": 0,
        "usd": 0.75,
        "unpriced": 0,
        "input_tokens": 200,
        "output_tokens": 20,
    }
    assert (totals.by_proposer["n"].replies, totals.by_proposer["n"].failures) == (1, 1)
    with Archive.open(archive.path) as reader:
        assert reader.totals() == totals


def test_unfinished_is_what_was_asked_and_never_told(archive: Archive, tell: Tell) -> None:
    def ask(iteration: int, proposer: str = "p") -> Asked:
        return Asked(iteration=iteration, operation="mutate", parents=(), proposer=proposer)

    archive.append(tell(0, "seed = 1", (1, 1), operation="seed"), ask(0), ask(1), ask(2), ask(3))
    archive.append(tell(2, "a = 1", (1, 1)), ask(3, "q"))

    assert archive.unfinished() == [ask(0), ask(1), ask(3, "q")]


def test_a_reader_follows_a_writer(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.5, 0.5)))
    with Archive.open(archive.path.parent) as reader:
        assert list(reader.ranks().values()) == [1]
        assert reader.totals().iterations == 1 and reader.children() == {}
        archive.append(
            Proposed(iteration=2, attempt=0, proposer="p", system="", user="", usd=1.0),
            tell(2, "b = 1", (0.1, 0.1), parents=(name("a = 1"),)),
            Selected(iteration=2, candidate=name("b = 1"), verdict=tell(0, "", (1, 1)).verdict, promoted=True),
        )
        assert reader.ranks() == archive.ranks() == {name("a = 1"): 2, name("b = 1"): 1}
        assert reader.totals() == archive.totals() and reader.totals().usd == 1.0
        assert reader.children() == {name("a = 1"): 1}
        assert len(reader.front("select")) == 1
        with pytest.raises(ArchiveError, match="opened for reading"):
            reader.append(Ended(reason="no"))


def test_the_list_format_is_flat_json(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.5), idea="an idea", hypervolume_gain=0.5))
    record = archive.record(name("a = 1"))

    listed = json.loads(json.dumps(record.to_json(archive.ranks().get(record.id))))

    assert {
        key: listed[key] for key in ("parents", "proposer", "status", "valid", "rank", "hypervolume_gain", "idea")
    } == {
        "parents": [],
        "proposer": "offline",
        "status": "ok",
        "valid": True,
        "rank": 1,
        "hypervolume_gain": 0.5,
        "idea": "an idea",
    }
    assert (listed["id"], listed["operation"], listed["iteration"], listed["promoted"]) == (
        record.id,
        "mutate",
        1,
        False,
    )
    assert listed["points"] == [
        {"label": "0 tokens", "split": "search", "family": "", "traffic": 0.1, "error": 0.5},
    ]


def test_plain_sql_finds_objectives_prompts_and_verdicts(archive: Archive, tell: Tell) -> None:
    archive.append(Proposed(iteration=1, attempt=0, proposer="p", system="s", user="u", reply="r"))
    archive.append(tell(1, "a = 1", (0.1, 0.5)))
    db = sqlite3.connect(archive.path)
    assert db.execute("SELECT label, traffic, error FROM operating_points").fetchall() == [("0 tokens", 0.1, 0.5)]
    assert db.execute("SELECT system, user, reply FROM exchanges").fetchall() == [("s", "u", "r")]
    ((verdict,),) = db.execute("SELECT verdict FROM full_verdicts").fetchall()
    assert Verdict.model_validate_json(verdict) == archive.record(name("a = 1")).verdict
    db.close()


def test_the_names_of_objectives_may_hold_quotes(
    tmp_path: Path, start: Callable[..., Started], archive: Archive
) -> None:
    odd = tuple(o.model_copy(update={"name": n}) for o, n in zip(archive.objectives, ('a"b', "c' d"), strict=True))
    with Archive.create(tmp_path / "odd", start(objectives=odd)) as other:
        verdict = Verdict(valid=True, points=(Point(**{'a"b': 0.1, "c' d": 0.2}),))
        other.append(
            Told(iteration=1, source="x = 1", operation="mutate", proposer="p", verdict=verdict),
        )
        assert len(other.front()) == 1


def test_an_archive_opens_without_torch_ray_or_numpy(archive: Archive) -> None:
    code = (
        "import sys; from vevolve.archive import Archive; from pathlib import Path\n"
        f"with Archive.open(Path({str(archive.path)!r})) as a: a.front(), a.totals(), a.records()\n"
        "print([m for m in ('torch', 'ray', 'numpy', 'openai', 'anthropic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_families_are_listed_without_the_main_workload(archive: Archive, tell: Tell) -> None:
    archive.append(tell(0, "x = 0", (1, 1)))
    assert archive.families() == []
    points = [Point(family=family, traffic=0.5, error=0.5) for family in ("b", "", "a", "b")]
    archive.append(tell(1, "x = 1", verdict=Verdict(valid=True, points=tuple(points))))
    assert archive.families() == ["a", "b"]


def test_seconds_of_running_leave_out_the_pauses_between_sessions(tmp_path: Path, start, monkeypatch) -> None:
    now = iter([100.0, 104.0, 110.0, 500.0, 503.0])
    monkeypatch.setattr("vevolve.archive.store.time.time", lambda: next(now))
    with Archive.create(tmp_path / "run", start()) as archive:
        assert (archive.seconds(), archive.ended()) == (0.0, None)
        archive.append(Asked(iteration=1, operation="mutate", parents=(), proposer="offline"))
        archive.append(Ended(reason="4 seconds are over", budget="seconds"))
        assert archive.seconds() == 10.0
        assert archive.ended() == Ended(reason="4 seconds are over", budget="seconds")
        archive.append(Resumed(version="1", config={}, containment=Containment()))
        assert archive.ended() is None
        archive.append(Ended(reason="stopped by the user"))
        assert archive.seconds() == 13.0

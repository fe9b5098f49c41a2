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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Ended, Proposed, Selected, Started, Told
from vevolve.errors import ArchiveError, BadInput, UnknownName
from vevolve.types import Bound, Candidate, Containment, Cost, Objective, Point, Verdict

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


def test_the_front_holds_what_nothing_dominates_and_no_reference(
    archive: Archive, tell: Tell, fail: Callable[..., Verdict]
) -> None:
    archive.append(tell(0, "wide = 1", (0.01, 1.0), (1.0, 0.01), operation="seed"))
    archive.append(tell(1, "narrow = 1", (0.02, 0.02), (0.5, 0.5)))
    archive.append(tell(2, "worse = 1", (0.6, 0.6)))
    archive.append(tell(3, "REFERENCE = True", (0.005, 0.001)))
    invalid = fail("wrong").model_copy(update={"points": (Point(traffic=0.005, error=0.001),)})
    archive.append(tell(4, "cheat = 1", verdict=invalid))
    wide, narrow = name("wide = 1"), name("narrow = 1")

    assert [record.id for record in archive.front()] == [narrow, wide]
    assert [(record.id, point["traffic"]) for record, point in archive.front_points()] == [
        (wide, 0.01),
        (narrow, 0.02),
        (wide, 1.0),
    ]
    assert archive.ranks() == {wide: 1, narrow: 1, name("worse = 1"): 3}
    assert archive.record(name("REFERENCE = True")).reference
    assert archive.front("select") == [] and archive.front(family="llama3") == []


def test_fronts_of_splits_and_families_are_kept_apart(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)), tell(2, "b = 1", (0.2, 0.2)))
    for source, select, llama in (("a = 1", (0.3, 0.3), (0.2, 0.2)), ("b = 1", (0.2, 0.2), (0.3, 0.3))):
        points = (*tell(0, "", select).verdict.points, *tell(0, "", llama, family="llama3").verdict.points)
        verdict = Verdict(valid=True, points=points)
        archive.append(Selected(iteration=3, candidate=name(source), verdict=verdict, promoted=source == "a = 1"))

    assert [record.source for record in archive.front("search")] == ["a = 1"]
    assert [record.source for record in archive.front("select")] == ["b = 1"]
    (best,) = archive.front("select", "llama3")
    assert best.source == "a = 1" and best.promoted
    assert [(point.split, point.family, point["error"]) for point in best.points] == [("select", "llama3", 0.2)]
    assert [point.split for point in archive.record(best.id).points] == ["search", "select", "select"]
    assert best.selected is not None and len(best.selected.points) == 2


def test_a_candidate_selected_again_is_judged_by_the_last_verdict(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)))
    for traffic, promoted in ((0.1, True), (0.9, False)):
        verdict = tell(0, "", (traffic, 0.5)).verdict
        archive.append(Selected(iteration=2, candidate=name("a = 1"), verdict=verdict, promoted=promoted))
        assert [point["traffic"] for _, point in archive.front_points("select")] == [traffic]
        assert archive.record(name("a = 1")).promoted is promoted


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


def test_a_point_without_every_objective_is_kept_and_never_ranked(archive: Archive, tell: Tell) -> None:
    verdict = Verdict(valid=True, points=(Point(traffic=0.1), Point(traffic=0.5, error=0.5)))
    archive.append(tell(1, "a = 1", verdict=verdict))
    assert len(archive.record(name("a = 1")).points) == 2
    assert [point["traffic"] for _, point in archive.front_points()] == [0.5]


VALUES = st.one_of(st.sampled_from([0.001, 0.01, 0.1, 1.0, 20.0]), st.floats(0.0005, 30))
PROGRAMS = st.lists(st.lists(st.tuples(VALUES, VALUES), max_size=4), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs=PROGRAMS)
def test_what_gain_foretells_is_what_the_hypervolume_grows_by(
    programs: list[list[tuple[float, float]]],
    tmp_path_factory: pytest.TempPathFactory,
    start: Callable[..., Started],
    tell: Tell,
) -> None:
    with Archive.create(tmp_path_factory.mktemp("run"), start()) as archive:
        curve: list[tuple[int, float]] = []
        for iteration, points in enumerate(programs, 1):
            told = tell(iteration, f"x = {iteration}", *points)
            before, promised = archive.hypervolume(), archive.gain(told.verdict.points)
            archive.append(told)
            assert archive.hypervolume() - before == pytest.approx(promised, abs=1e-9)
            if points:
                curve.append((iteration, archive.hypervolume()))
        with Archive.open(archive.path) as reader:
            assert reader.ranks() == archive.ranks()
            assert reader.hypervolume() == pytest.approx(archive.hypervolume(), abs=1e-12)
            found = reader.hypervolume_curve()
            assert [iteration for iteration, _ in found] == [iteration for iteration, _ in curve]
            assert [value for _, value in found] == pytest.approx([value for _, value in curve], abs=1e-9)
            middle = len(programs) // 2
            known = [value for iteration, value in curve if iteration <= middle]
            assert reader.hypervolume(upto=middle) == pytest.approx(known[-1] if known else 0.0, abs=1e-9)


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


def test_more_is_better_where_an_objective_says_max(tmp_path: Path, start: Callable[..., Started], tell: Tell) -> None:
    axis = Objective("sum", "max", worst=1.0)
    with Archive.create(tmp_path / "packing", start(objectives=(axis,))) as archive:
        for iteration, value in enumerate((2.0, 0.5, 2.5, 2.2)):
            verdict = Verdict(valid=True, points=(Point(sum=value),))
            assert archive.gain(verdict.points) == pytest.approx(max(0.0, value - 1 - archive.hypervolume()))
            archive.append(tell(iteration, f"x = {iteration}", verdict=verdict))
        assert [point["sum"] for _, point in archive.front_points()] == [2.5]
        assert [archive.ranks()[name(f"x = {i}")] for i in range(4)] == [3, 4, 1, 2]
        assert archive.hypervolume() == pytest.approx(1.5)
        assert archive.hypervolume_curve() == [(0, 1.0), (1, 1.0), (2, 1.5), (3, 1.5)]

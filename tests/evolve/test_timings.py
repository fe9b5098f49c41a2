"""Latency in a run: what is promoted is timed beside the seed, ranked apart, and nothing else depends on it."""

from __future__ import annotations

import threading

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Latency, Measured
from vevolve.errors import ArchiveError, BadInput, SandboxUnavailable, WorkerFailure
from vevolve.evaluators.latency import FAMILY, Measurement, Span, Timed
from vevolve.evolve import api, stopwatch
from vevolve.evolve.cli.panel import describe
from vevolve.evolve.cli.read import print_front
from vevolve.evolve.setup import Weighted
from vevolve.evolve.timekeeper import Beside, open_timekeeper
from vevolve.evolve.workers import Inline, Workers
from vevolve.sandbox import profiles
from vevolve.types import Objective

AXES = (
    Objective("left", "min", worst=1.0, best=0.001, scale="log10"),
    Objective("latency_us", "min", worst=1e4, best=1.0, scale="log10"),
)


class Keeper:
    """Times programs by a number in their text: X tells microseconds, and some are at fault or suspect."""

    def __init__(self, gpu="a GPU", protocol="p" * 64, broken=False, gate=None):
        self.latency = Latency(family=FAMILY, objectives=AXES, gpu=gpu, version=1, protocol=protocol)
        self.asked, self.broken, self.gate, self.closed = [], broken, gate, False

    def time(self, candidate, incumbent):
        self.asked.append((candidate.id, incumbent.id))
        if self.gate is not None:
            self.gate.wait(20)
        if self.broken:
            raise RuntimeError("the clock fell off the wall")
        return measurement(candidate, incumbent)

    def close(self):
        self.closed = True


def timed(program):
    left = float(program.constants["X"])
    kind = int(program.id[:2], 16) % 4
    return Timed(
        program=program.id,
        label="the only one",
        latency_us=Span(low=90 * left, middle=100 * left, high=110 * left),
        calls=20,
        figures={"left": left},
        faults=("call 3: another operating point",) if kind == 1 else (),
        suspect="too fast" if kind == 2 else "",
    )


def measurement(candidate, incumbent):
    return Measurement(
        problem="plane",
        version=1,
        protocol="p" * 64,
        workload="a plane",
        candidate=(timed(candidate),),
        incumbent=(timed(incumbent),),
        ratios={},
        conditions={"name": "a GPU"},
    )


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def go(plane):
    """Start or resume a run with a timekeeper."""

    def begin(keeper, run=None, **named):
        def crew(*_):
            return Workers([Inline(plane.load(str(plane.FOLDER)), plane.Bare)])

        given = {"workers": crew, "proposers": [Weighted(plane.Model(), 1.0)], "timekeeper": lambda *_: keeper}
        return api.resume(run, named, **given) if run else api.start(plane.settings(**named), **given)

    return begin


def measured(archive):
    return [event for entry in archive.events(kinds=("measured",)) if isinstance(event := entry.event, Measured)]


def promoted(archive):
    return {record.id for record in archive.records() if record.promoted}


def test_what_is_promoted_is_timed_beside_the_seed_each_once(go):
    keeper = Keeper()
    run = go(keeper, evaluations=24)
    list(run)
    seed = run.task.seed.id
    assert {id for id, _ in keeper.asked} == promoted(run.archive) and len(keeper.asked) == len(promoted(run.archive))
    assert {incumbent for _, incumbent in keeper.asked} == {seed} and len(keeper.asked) >= 3
    assert {event.candidate for event in measured(run.archive)} == promoted(run.archive)
    told = [describe(event, run) for event in measured(run.archive)]
    assert all("latency at the only one" in line for line in told)
    assert run.archive.started.latency == keeper.latency and keeper.closed
    run.archive.verify()


def test_points_that_were_timed_have_a_front_of_their_own_and_others_never_stand_on_it(go, capsys):
    run = go(Keeper(), evaluations=40)
    list(run)
    archive = run.archive
    assert FAMILY in archive.families() and archive.objectives_on(FAMILY) == AXES
    events = {event.candidate: event for event in measured(archive)}
    counted = {id for id, event in events.items() if event.points}
    without = events.keys() - counted
    assert counted and without, "the run holds both"
    assert set(archive.ranks("select", FAMILY)) == counted
    assert {record.id for record in archive.front("select", FAMILY)} <= counted
    best = archive.front_points("select", FAMILY)[0]
    assert best[1]["latency_us"] == min(event.points[0]["latency_us"] for event in events.values() if event.points)
    assert archive.hypervolume("select", FAMILY) > 0
    for id in without:
        record = archive.record(id)
        assert record.valid and record.promoted and record.selected.valid
        assert "does not count: " in events[id].feedback and not record.points_on("select", FAMILY)
    print_front(archive, "select")
    told = capsys.readouterr().out
    assert "of those timed on a GPU" in told and "latency_us" in told.partition("of those timed")[2]


def test_the_search_does_not_depend_on_times(go, plane, monkeypatch):
    stories = []
    for keeper in (Keeper(), None):
        monkeypatch.setattr("vevolve.evolve.run.Seed.fresh", classmethod(lambda cls: plane.SECRET))
        run = go(keeper, evaluations=24)
        list(run)
        stories.append(plane.story(run.archive))
        assert bool(measured(run.archive)) == bool(keeper)
    assert stories[0] == stories[1]


def test_a_run_that_was_stopped_while_it_timed_goes_on_timing(go):
    gate = threading.Event()
    run = go(Keeper(gate=gate), evaluations=12)
    events = iter(run)
    for event in events:
        if event.kind == "selected" and event.promoted:
            break
    run._loop._grace = 0.0
    run.stop()
    list(events)
    left = promoted(run.archive) - {event.candidate for event in measured(run.archive)}
    assert left
    gate.set()
    again = go(Keeper(), str(run.directory.path))
    assert not again.finished
    list(again)
    assert {event.candidate for event in measured(again.archive)} == promoted(again.archive)
    assert go(Keeper(), str(run.directory.path)).finished


def test_a_clock_that_breaks_ends_the_run_and_no_number_of_it_is_kept(go):
    run = go(Keeper(broken=True), evaluations=12)
    with pytest.raises(RuntimeError, match="fell off the wall"):
        list(run)
    assert measured(run.archive) == [] and "fell off the wall" in run.archive.ended().reason


RESUMES = {
    "no GPU": (
        None,
        r"^The run '.*' times what it promotes on a GPU \(a GPU\), and nothing can be timed here: .*Resume it",
    ),
    "another GPU": (Keeper(gpu="other"), "was timed on a GPU, and this machine has other"),
    "another protocol": (Keeper(protocol="q" * 64), "The protocol of latency has changed"),
}


@pytest.mark.parametrize(("keeper", "message"), RESUMES.values(), ids=RESUMES)
def test_a_run_that_was_timed_does_not_go_on_where_times_would_not_compare(go, keeper, message):
    run = go(Keeper(), evaluations=2)
    list(run)
    with pytest.raises(ArchiveError, match=message) as caught:
        go(keeper, str(run.directory.path), evaluations=4)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="keeps its latency"):
        go(Keeper(), str(run.directory.path), latency=False)


def test_a_run_that_began_without_a_gpu_goes_on_without_times_on_one(go):
    run = go(None, evaluations=4)
    list(run)
    keeper = Keeper()
    list(go(keeper, str(run.directory.path), evaluations=8))
    with Archive.open(run.directory.path) as archive:
        assert archive.started.latency is None and measured(archive) == [] and archive.totals().evaluations == 8
    assert keeper.asked == []


def test_without_a_gpu_there_is_no_timekeeper_and_a_wish_for_one_is_refused(monkeypatch):
    from vevolve.evaluators.circle_packing.problem import problem as packing
    from vevolve.evaluators.sparse_decode.problem import problem as sparse

    monkeypatch.setattr(profiles, "gpus", lambda: ())
    assert open_timekeeper(sparse, "sparse_decode", None, False) is None
    assert open_timekeeper(sparse, "sparse_decode", False, False) is None
    assert open_timekeeper(packing, "circle_packing", None, False) is None
    with pytest.raises(SandboxUnavailable, match="no NVIDIA GPU here"):
        open_timekeeper(sparse, "sparse_decode", True, False)
    with pytest.raises(BadInput, match="no latency stage"):
        open_timekeeper(packing, "circle_packing", True, False)
    with pytest.raises(SandboxUnavailable, match="no NVIDIA GPU here"):
        stopwatch.gpu()


@pytest.mark.skipif(bool(profiles.gpus()), reason="here is a GPU, and its process would time")
def test_a_process_that_cannot_time_is_started_twice_and_its_last_line_is_told(plane):
    keeper = Beside("sparse_decode", Keeper().latency, allow_degraded=False)
    program = plane.Candidate("X = 1\n")
    with pytest.raises(WorkerFailure, match=r"could not be timed, tried twice: .*no NVIDIA GPU here"):
        keeper.time(program, program)
    keeper.close()

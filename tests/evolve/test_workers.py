"""Workers: a broken harness is tried once more and never taken for a result."""

from __future__ import annotations

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Ended
from vevolve.errors import SandboxUnavailable, WorkerFailure
from vevolve.evaluators.fresh import Fresh
from vevolve.evolve.workers import Job, Meeting, Workers
from vevolve.types import Candidate, Containment, Seed


class Brittle:
    """A worker that breaks at some of its jobs and can be opened anew."""

    def __init__(self, worker, breaks_at, level="L1"):
        self.worker, self.breaks_at, self.level = worker, set(breaks_at), level
        self.jobs = self.opened = 0

    def open(self):
        self.opened += 1
        self.worker.open()
        return Containment(level=self.level if self.opened < 3 else "L0")

    def examine(self, job):
        self.begin(OSError("the zygote is gone"))
        return self.worker.examine(job)

    def meet(self, meeting):
        self.begin(WorkerFailure("the actor is gone"))
        return self.worker.meet(meeting)

    def begin(self, failure):
        self.jobs += 1
        if self.jobs in self.breaks_at:
            raise failure

    def close(self):
        self.worker.close()


def job(plane, note=""):
    return Job(Candidate(plane.program(0.5, 0.5, note)), Seed.fresh())


def test_a_job_whose_worker_broke_is_done_by_a_new_one(plane):
    brittle = Brittle(plane.make_bare(), {1})
    workers = Workers([brittle])
    assert workers.submit(job(plane)).result(120).valid
    assert (brittle.jobs, brittle.opened) == (2, 2)
    workers.close()


def test_a_job_that_breaks_two_workers_raises_and_the_next_job_is_served(plane):
    workers = Workers([Brittle(plane.make_bare(), {1, 2})])
    with pytest.raises(OSError, match="zygote"):
        workers.submit(job(plane)).result(120)
    assert workers.submit(job(plane)).result(120).valid
    workers.close()


def test_a_worker_that_comes_back_at_another_level_is_refused(plane):
    workers = Workers([Brittle(plane.make_bare(), {1, 3})])
    assert workers.submit(job(plane)).result(120).valid
    with pytest.raises(SandboxUnavailable, match="level L0, the others at L1"):
        workers.submit(job(plane)).result(120)
    workers.close()


def test_workers_of_two_levels_are_refused(plane):
    with pytest.raises(SandboxUnavailable, match="L1, L3"):
        Workers([Brittle(plane.make_bare(), {}), Brittle(plane.make_bare(), {}, level="L3")])


def test_a_broken_harness_ends_the_run_and_no_number_of_it_is_kept(plane, tmp_path):
    workers = Workers([Brittle(plane.make_bare(), {6, 7})])
    config = plane.settings(evaluations=20, lag=2)
    with pytest.raises(OSError, match="zygote"):
        plane.run(tmp_path, config, workers=workers)
    with Archive.open(tmp_path) as archive:
        *_, last = archive.events()
        assert last.event == Ended(reason="the harness failed: the zygote is gone")
    resumed, _ = plane.run(tmp_path, config)
    straight, _ = plane.run(tmp_path / "straight", config)
    assert plane.story(resumed) == plane.story(straight)


def test_a_run_outlives_workers_that_break_once_in_a_while(plane, tmp_path):
    config = plane.settings(evaluations=20)
    shaky = Brittle(plane.make_bare(), {4})
    archive, _ = plane.run(tmp_path / "shaky", config, workers=Workers([shaky]))
    steady, _ = plane.run(tmp_path / "steady", config)
    assert plane.story(archive) == plane.story(steady)
    assert shaky.opened == 2


def test_two_programs_meet_on_a_document_that_its_key_and_number_decide(plane):
    challenger, incumbent = (Candidate(plane.program(x, 0.5)) for x in (0.4, 0.5))
    workers = plane.crew(2)
    one, again, other = (
        workers.meet(Meeting(challenger, incumbent, Fresh(Seed(b"key"), number), ("only",))).result(120)
        for number in (3, 3, 4)
    )
    workers.close()
    assert [verdict.points for verdict in one] == [verdict.points for verdict in again]
    assert all(verdict.points != elsewhere.points for verdict, elsewhere in zip(one, other, strict=True))
    assert one[0].problem == one[1].problem != other[0].problem, "both met the same document"
    assert {point.split for verdict in one for point in verdict.points} == {"sealed"}


def test_a_meeting_whose_worker_broke_is_held_by_a_new_one_and_one_that_breaks_two_names_both_programs(plane):
    challenger, incumbent = (Candidate(plane.program(x, 0.5)) for x in (0.4, 0.5))
    meeting = Meeting(challenger, incumbent, Fresh(Seed(b"key"), 3), ("only",))
    calm = plane.crew()
    expected = [verdict.points for verdict in calm.meet(meeting).result(120)]
    calm.close()
    workers = Workers([Brittle(plane.make_bare(), {1})])
    assert [verdict.points for verdict in workers.meet(meeting).result(120)] == expected
    workers.close()
    workers = Workers([Brittle(plane.make_bare(), {1, 2})])
    with pytest.raises(WorkerFailure, match=f"{challenger.id[:8]} or {incumbent.id[:8]} could not be examined"):
        workers.meet(meeting).result(120)
    workers.close()

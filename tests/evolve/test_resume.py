"""Resume: a run that was killed goes on as the run that was never killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Ended, Proposed, Told


def of_kind(story, kind):
    return [line for line in story if line["kind"] == kind]


@pytest.mark.parametrize("free", [False, True], ids=["hosted", "free"])
def test_a_run_cut_off_after_any_event_goes_on_as_if_never_cut(plane, tmp_path, free):
    config = plane.settings(evaluations=12, lag=3)
    whole, events = plane.run(tmp_path / "whole", config, plane.Model(free=free))
    story = plane.story(whole)
    assert len(events) > 40
    for kept in range(0, len(events) - 1, 3):
        directory = tmp_path / f"cut{kept}"
        with plane.begin(directory, config) as archive:
            archive.append(*events[:kept])
        replies = {(one.iteration, one.attempt) for one in events[:kept] if isinstance(one, Proposed) and one.reply}
        model = plane.Model(free=free)
        resumed, _ = plane.run(directory, config, model)
        assert plane.story(resumed) == story, f"cut after {kept} events"
        again = {(request.iteration, request.attempt) for request in model.requests}
        assert not again & replies, "a reply that was paid for is used again"
        told = [entry.event.iteration for entry in resumed.events(kinds=("told",))]
        assert told == sorted(set(told))
        resumed.verify()
        resumed.close()


def test_resume_goes_on_to_the_total_asked_for(plane, tmp_path):
    first, _ = plane.run(tmp_path / "a", plane.settings(evaluations=10))
    before = of_kind(plane.story(first), "told")
    second, _ = plane.run(tmp_path / "a", plane.settings(evaluations=25))
    straight, _ = plane.run(tmp_path / "b", plane.settings(evaluations=25))
    after = of_kind(plane.story(second), "told")
    assert after[: len(before)] == before
    assert after == of_kind(plane.story(straight), "told")
    assert second.totals().evaluations == 25
    _, nothing = plane.run(tmp_path / "a", plane.settings(evaluations=20))
    assert nothing == [Ended(reason="all 20 evaluations are done", budget="evaluations")]


def test_a_resume_with_another_model_keeps_what_was_paid(plane, tmp_path):
    config = plane.settings(evaluations=12, lag=3)
    _, events = plane.run(tmp_path / "whole", config, plane.Model(name="old"))
    last = max(index for index, event in enumerate(events) if isinstance(event, Proposed))
    with plane.begin(tmp_path / "cut", config) as archive:
        archive.append(*events[: last + 1])
        waiting = [asked.iteration for asked in archive.unfinished()]
        paid = {number for number in waiting if any(one.reply for one in archive.proposed(number))}
    assert paid
    model = plane.Model(name="new")
    resumed, _ = plane.run(tmp_path / "cut", plane.settings(evaluations=20, lag=3), model)
    told = {entry.event.iteration: entry.event for entry in resumed.events(kinds=("told",))}
    assert {told[number].proposer for number in paid} == {"old"}
    assert told[max(told)].proposer == "new"
    assert not paid & {request.iteration for request in model.requests if request.attempt == 0}


def test_dollars_of_earlier_sessions_count(plane, tmp_path):
    def priced():
        return plane.Model(
            lambda request: plane.fenced(plane.program(0.5, 0.5 + request.iteration / 100)), usd=1.0, estimated=1.0
        )

    plane.run(tmp_path, plane.settings(evaluations=50, usd=3.0), priced())
    model = priced()
    archive, events = plane.run(tmp_path, plane.settings(evaluations=50, usd=5.0), model)
    assert len(model.requests) == 2
    assert archive.totals().usd == 5
    assert events[-1].reason.startswith("$5 are spent")


DRIVER = """
    import importlib.util, sys, pathlib, time
    spec = importlib.util.spec_from_file_location("doubles", sys.argv[1])
    plane = importlib.util.module_from_spec(spec)
    sys.modules["doubles"] = plane
    spec.loader.exec_module(plane)

    def reply(request):
        if request.iteration > 35:
            time.sleep(600)  # it is killed before it ends, however late
        return plane.wander(request)

    config = plane.settings(evaluations=40, lag=4)
    with plane.begin(pathlib.Path(sys.argv[2]), config) as archive:
        for event in plane.loop_of(archive, config, [plane.Model(reply, delay=.01)], plane.crew(2, .01)).events():
            print(event.kind, flush=True)
"""


def test_a_killed_process_loses_nothing_and_doubles_nothing(plane, tmp_path):
    directory = tmp_path / "killed"
    arguments = [sys.executable, "-c", textwrap.dedent(DRIVER), str(Path(plane.FOLDER) / "doubles.py"), str(directory)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen += line.startswith("told")
            if seen == 15:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    with Archive.open(directory) as archive:
        told = [entry.event for entry in archive.events(kinds=("told",)) if isinstance(entry.event, Told)]
        assert len(told) >= 15
        assert any(isinstance(entry.event, Asked) for entry in archive.events())
    resumed, _ = plane.run(directory, plane.settings(evaluations=40, lag=4))
    straight, _ = plane.run(tmp_path / "straight", plane.settings(evaluations=40, lag=4))
    assert plane.story(resumed) == plane.story(straight)
    resumed.verify()


REPAIRING = """
    import importlib.util, os, sys, pathlib, time
    spec = importlib.util.spec_from_file_location("doubles", sys.argv[1])
    plane = importlib.util.module_from_spec(spec)
    sys.modules["doubles"] = plane
    spec.loader.exec_module(plane)

    def reply(request):
        if request.attempt == 1:
            os.write(1, b"asked again\\n")
            time.sleep(600)
        return plane.Reply(text="no program", model="double", usd=1.0)

    config = plane.settings(evaluations=40, lag=4)
    with plane.begin(pathlib.Path(sys.argv[2]), config) as archive:
        list(plane.loop_of(archive, config, [plane.Model(reply)], plane.crew()).events())
"""


def test_a_paid_answer_is_on_the_disk_before_anything_is_asked_on_top_of_it(plane, tmp_path):
    directory = tmp_path / "killed"
    script = [sys.executable, "-c", textwrap.dedent(REPAIRING), str(Path(plane.FOLDER) / "doubles.py"), str(directory)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        asked = [process.stdout.readline() for _ in range(4)]
        process.kill()
    assert asked == ["asked again\n"] * 4
    with Archive.open(directory) as archive:
        stored = [entry.event for entry in archive.events(kinds=("proposed",))]
        assert sorted((event.iteration, event.attempt, event.reply, event.usd) for event in stored) == [
            (number, 0, "no program", 1.0) for number in (1, 2, 3, 4)
        ]
    model = plane.Model()
    plane.run(directory, plane.settings(evaluations=10, lag=4), model)
    asked_again = {(request.iteration, request.attempt) for request in model.requests if request.iteration < 5}
    assert asked_again == {(number, 1) for number in (1, 2, 3, 4)}, "the repair alone is asked anew"

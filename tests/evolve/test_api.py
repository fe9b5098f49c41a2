"""The library: a run in a few lines, its directory, and what stops it from being resumed."""

from __future__ import annotations

import errno
import shlex
import shutil
import signal
import subprocess
import sys
import threading

import pytest

import vevolve
from vevolve.archive import Archive
from vevolve.archive.events import Started, Told
from vevolve.errors import ArchiveError, BadInput, ProposerError, Stopped, UnknownName
from vevolve.evolve import api
from vevolve.evolve.config import Config
from vevolve.evolve.connection import check
from vevolve.evolve.run import RunDirectory, commitment, find_run
from vevolve.evolve.setup import Weighted
from vevolve.evolve.workers import Inline, Workers
from vevolve.types import Containment


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def start(plane):
    def begin(model=None, level="L1", **named):
        return api.start(
            plane.settings(**named), workers=lambda *_: crew(plane, level), proposers=weighted(plane, model)
        )

    return begin


@pytest.fixture
def resume(plane):
    def go_on(run=None, settings=None, model=None, level="L1"):
        return api.resume(run, settings, workers=lambda *_: crew(plane, level), proposers=weighted(plane, model))

    return go_on


def crew(plane, level):
    class Leveled(plane.Bare):
        containment = Containment(level=level)

    return Workers([Inline(plane.load(str(plane.FOLDER)), Leveled)])


def weighted(plane, model):
    return [Weighted(model or plane.Model(), 1.0)]


def test_a_run_is_iterated_over_and_leaves_a_directory(start, tmp_path):
    run = start(evaluations=8)
    assert not (tmp_path / "runs").exists(), "nothing is written before it begins"
    first, *_, last = run
    assert isinstance(first, Started)
    assert last.kind == "ended"
    assert run.archive.front()
    assert run.archive.totals().evaluations == 8
    directory = run.directory.path
    assert directory.parent.name == "runs"
    assert "-plane-start-" in directory.name
    assert (directory / "seed.key").stat().st_mode & 0o777 == 0o600
    assert first.seed_commitment == commitment(run.directory.secret())
    assert Config.load(environment={}, file=directory / "config.toml") == run.config
    secret = (directory / "seed.key").read_text().strip().encode()
    assert secret not in (directory / "archive.db").read_bytes()


def test_a_run_is_iterated_over_once(start):
    run = start(evaluations=1)
    list(run)
    with pytest.raises(BadInput, match="once"):
        list(run)


def test_two_runs_differ_and_one_secret_gives_one_run(start, plane):
    stories = []
    for name in ("a", "b"):
        run = start(evaluations=12, directory=name)
        list(run)
        stories.append(plane.story(run.archive))
    assert stories[0] != stories[1]


def test_resume_goes_on_to_a_new_total(start, resume):
    list(start(evaluations=5))
    run = resume(settings={"evaluations": 9})
    events = list(run)
    assert events[0].kind == "resumed"
    assert run.archive.totals().evaluations == 9
    assert run.resume_command.endswith("--evaluations 18")
    again = resume()
    assert again.config.evaluations == 9, "what is not given stays as it was"


def test_a_run_stopped_in_between_is_resumed_without_a_flag(start, resume):
    run = start(evaluations=50)
    for event in run:
        if isinstance(event, Told) and event.iteration == 5:
            run.stop()
    assert run.resume_command == f"vevolve resume {run.directory.path}"
    again = resume(run.directory.name)
    list(again)
    assert again.archive.totals().evaluations == 50


def test_no_way_to_go_on_is_told_of_a_run_that_never_began(start):
    assert start(evaluations=5).resume_command is None


def continued(run, resume, model=None):
    """Type the command that a run ends with: the options as settings, the run by its directory."""
    words = shlex.split(run.resume_command)
    assert words[:2] == ["vevolve", "resume"]
    settings = {name.removeprefix("--"): float(value) for name, value in zip(words[3::2], words[4::2], strict=True)}
    again = resume(words[2], {name: int(v) if v == int(v) else v for name, v in settings.items()}, model)
    before = again.archive.totals().evaluations
    assert not again.finished
    list(again)
    return again.archive.totals().evaluations - before


def test_after_the_seconds_are_over_the_printed_command_really_goes_on(start, resume, plane):
    run = start(plane.Model(delay=0.02), evaluations=10_000, seconds=3)
    assert list(run)[-1].budget == "seconds"
    assert "--seconds" in run.resume_command and "--evaluations" not in run.resume_command
    assert resume().finished and "3 of 3 seconds are over" in resume().reached[0].said
    assert continued(run, resume, plane.Model(delay=0.02)) > 0


def test_after_the_dollars_are_spent_the_printed_command_really_goes_on(start, resume, plane):
    def paid():
        return plane.Model(estimated=0.3, usd=0.3)

    run = start(paid(), evaluations=10_000, usd=1.0)
    assert list(run)[-1].budget == "usd"
    assert run.resume_command.endswith(" --usd 2")
    assert resume(model=paid()).finished
    assert not resume().finished, "what is free goes on"
    assert continued(run, resume, paid()) > 0


def test_a_total_below_what_is_done_is_told_with_one_that_goes_on(start, resume):
    list(start(evaluations=6))
    less = resume(settings={"evaluations": 3})
    assert less.finished
    assert [one.said for one in less.reached] == ["6 of 3 evaluations are done"]
    assert continued(less, resume) == 6


def test_a_run_that_ended_before_its_gains_were_selected_is_not_finished(start, resume):
    run = start(evaluations=4)
    events = iter(run)
    while not run.directory.is_run or run.archive.totals().evaluations < 4:
        next(events)
    events.close()
    again = resume()
    due = [one for one in again.archive.records(valid=True) if one.hypervolume_gain > 0 and not one.selected]
    assert due and again.reached
    assert not again.finished
    list(again)
    assert all(one.selected for one in again.archive.records(valid=True) if one.hypervolume_gain > 0)
    assert resume().finished


def test_the_environment_counts_on_resume_and_the_printed_command_says_what_it_would_change(start, resume, monkeypatch):
    run = start(evaluations=50)
    for event in run:
        if isinstance(event, Told) and event.iteration == 5:
            run.stop()
    monkeypatch.setenv("VEVOLVE_EVALUATIONS", "7")
    monkeypatch.setenv("VEVOLVE_SEED", "sparse_decode/quest")
    assert run.resume_command.endswith(" --evaluations 50")
    again = resume()
    assert (again.config.evaluations, again.config.seed) == (7, "start")


def test_a_resume_may_change_how_many_iterations_are_in_flight(start, resume):
    list(start(evaluations=10, lag=8))
    again = resume(settings={"evaluations": 20, "lag": 3})
    list(again)
    assert again.archive.totals().evaluations == 20
    again.archive.verify()


def test_a_resume_needs_neither_the_seed_file_nor_the_same_working_directory(
    start, resume, plane, tmp_path, monkeypatch
):
    file = tmp_path / "mine.py"
    file.write_text(plane.program(0.7, 0.7))
    list(start(seed="mine.py", evaluations=3, directory=str(tmp_path / "run")))
    file.unlink()
    monkeypatch.chdir("/")
    again = resume(tmp_path / "run", {"evaluations": 5})
    list(again)
    assert again.archive.totals().evaluations == 5


def test_two_containment_levels_never_mix(start, resume):
    list(start(evaluations=2, level="L2"))
    with pytest.raises(ArchiveError, match="level L2, and this machine now gives L1"):
        list(resume(level="L1"))
    assert [entry.event.kind for entry in Archive.open(find_run().path).events()].count("resumed") == 0


def test_a_changed_problem_is_refused_in_one_line(start, resume, plane, tmp_path):
    folder = tmp_path / "plane"
    shutil.copytree(plane.FOLDER, folder)
    list(start(problem=str(folder), evaluations=2))
    for name in [name for name in sys.modules if name.startswith("vevolve_problem_plane")]:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")) or name == "vevolve_problem_plane":
            del sys.modules[name]
    (folder / "task.md").write_text("Something else.")
    with pytest.raises(ArchiveError, match="problem plane has changed") as error:
        resume()
    assert "\n" not in str(error.value)


def test_another_seed_or_a_foreign_secret_is_refused(start, resume):
    run = start(evaluations=2)
    list(run)
    with pytest.raises(BadInput, match="keeps its seed"):
        resume(settings={"seed": "sparse_decode/quest"})
    (run.directory.path / "seed.key").write_text("00" * 16)
    with pytest.raises(ArchiveError, match="not the seed"):
        list(resume())
    (run.directory.path / "seed.key").unlink()
    with pytest.raises(ArchiveError, match="cannot be read"):
        list(resume())


def test_two_drivers_never_write_one_run(start, resume):
    run = start(evaluations=50)
    events = iter(run)
    next(events)
    with pytest.raises(ArchiveError, match="being written by another process"):
        list(resume(run.directory.path))
    events.close()
    list(resume(run.directory.path, {"evaluations": 3}))


def test_a_directory_that_holds_a_run_is_not_overwritten(start):
    list(start(evaluations=1, directory="mine"))
    with pytest.raises(BadInput, match="already holds a run"):
        start(evaluations=1, directory="mine")


@pytest.mark.parametrize("name", ["config.toml", "seed.key"])
def test_a_foreign_file_of_a_name_that_a_run_needs_is_not_overwritten(start, tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(BadInput, match=f"already holds {name}, which a run would overwrite"):
        start(evaluations=1, directory="mine")
    assert (tmp_path / "mine" / name).read_text() == "mine"


def test_settings_that_somebody_changed_stay_as_they_are_on_resume(start, resume):
    run = start(evaluations=2)
    list(run)
    path = run.directory.path / "config.toml"
    list(resume(settings={"evaluations": 3}))
    assert "evaluations = 3\n" in path.read_text()
    path.write_text("mine = true\n")
    list(resume(settings={"evaluations": 4}))
    assert path.read_text() == "mine = true\n"


def test_a_run_whose_archive_cannot_be_made_leaves_nothing_and_can_be_begun_again(start, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vevolve.archive.schema.create", full)
        with pytest.raises(ArchiveError, match="free space on its disk, then start again"):
            list(start(evaluations=1, directory="mine"))
    assert not (tmp_path / "mine").exists()
    list(start(evaluations=1, directory="mine"))


def test_parameters_beside_a_seed_are_evolved_with_it(start, plane, tmp_path):
    (tmp_path / "mine.py").write_text(plane.program(0.7, 0.7))
    (tmp_path / "mine.safetensors").write_bytes(b"parameters")
    run = start(seed="mine.py", evaluations=6)
    list(run)
    assert {record.params for record in run.archive.records(valid=True)} == {b"parameters"}
    (tmp_path / "mine.safetensors").write_bytes(bytes((8 << 20) + 1))
    with pytest.raises(BadInput, match="hold 8,388,609 bytes; at most 8,388,608") as caught:
        start(seed="mine.py")
    assert "\n" not in str(caught.value)


def test_the_library_leaves_what_is_not_given_to_environment_and_file(tmp_path, monkeypatch):
    (tmp_path / "vevolve.toml").write_text('seed = "circle_packing/grid"\nevaluations = 5\nseconds = 60.0\n')
    monkeypatch.setenv("VEVOLVE_EVALUATIONS", "6")
    monkeypatch.setenv("VEVOLVE_WORKERS", "inline")
    config = vevolve.evolve().config
    assert (config.seed, config.evaluations, config.seconds, config.workers) == (
        "circle_packing/grid",
        6,
        60.0,
        "inline",
    )
    assert vevolve.evolve(evaluations=7).config.evaluations == 7


def test_the_public_names_are_listed():
    assert set(vevolve.__all__) <= set(dir(vevolve))
    assert all(getattr(vevolve, name) is not None for name in vevolve.__all__)


def test_workers_that_do_not_open_leave_no_directory(plane, tmp_path):
    def refuse(*_):
        raise BadInput("no")

    with pytest.raises(BadInput):
        list(api.start(plane.settings(), workers=refuse, proposers=weighted(plane, None)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ({"seed": "sparse_decode/vattenton", "problem": None}, UnknownName, "Did you mean 'sparse_decode/vattention'"),
        ({"seed": "sparse_decod/quest", "problem": None}, UnknownName, "Did you mean 'sparse_decode/quest'"),
        ({"seed": "stat"}, UnknownName, "Did you mean 'start'"),
        ({"seed": "start", "problem": "sparse_decod"}, UnknownName, "Did you mean 'sparse_decode'"),
        ({"seed": "file.py", "problem": None}, BadInput, "--problem"),
        ({"seed": "broken.py"}, BadInput, "line 1"),
        ({"seed": "file.py"}, BadInput, "must define `def answer"),
        ({"seed": "line.py"}, BadInput, "REFERENCE"),
    ],
)
def test_a_seed_that_cannot_be_is_one_line(start, plane, tmp_path, named, error, message):
    (tmp_path / "file.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("def answer(:\n")
    (tmp_path / "line.py").write_text(plane.program(0.5, 0.5) + "\nREFERENCE = True\n")
    with pytest.raises(error, match=message) as caught:
        start(**named)
    assert "\n" not in str(caught.value)


def test_dollars_without_a_price_are_refused_before_anything_runs(start, plane):
    with pytest.raises(ProposerError, match="--price"):
        start(plane.Model(name="openai:new", estimated=None), usd=1.0)
    list(start(plane.Model(name="openai:new", estimated=None, usd=None), evaluations=2))


def test_find_run_takes_a_path_a_name_a_part_of_it_or_the_latest(tmp_path):
    for name in ("20250101T000000-plane-start-aaaa", "20250102T000000-plane-start-bbbb"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "archive.db").write_text("")
    assert find_run().name.endswith("bbbb")
    assert find_run("aaaa").name.endswith("aaaa")
    assert find_run("runs/20250101T000000-plane-start-aaaa").name.endswith("aaaa")
    assert find_run("runs/20250101T000000-plane-start-aaaa/archive.db").name.endswith("aaaa")
    with pytest.raises(UnknownName, match="run"):
        find_run("plane")
    with pytest.raises(UnknownName, match="Did you mean"):
        find_run("20250101T000000-plane-start-aaab")
    with pytest.raises(BadInput, match="start one with `vevolve run"):
        find_run(root=tmp_path / "nowhere")
    assert not RunDirectory(tmp_path).is_run


def test_a_stop_before_the_workers_are_open_leaves_nothing(plane, tmp_path):
    def open_slowly(config, task, stopped):
        run.stop()
        check(stopped)
        return crew(plane, "L1")

    run = api.start(plane.settings(), workers=open_slowly, proposers=weighted(plane, None))
    with pytest.raises(Stopped):
        list(run)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_a_signal_handler_ends_in_order(start, number):
    run, events = start(evaluations=10_000), []
    before = signal.signal(number, lambda *_: run.stop())
    try:
        for event in run:
            events.append(event)
            if isinstance(event, Told) and event.iteration == 3:
                signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert events[-1].reason == "stopped by the user"
    assert not run.archive.unfinished()


def test_a_run_may_be_driven_from_another_thread(start):
    run = start(evaluations=4)
    thread = threading.Thread(target=lambda: list(run))
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert run.archive.totals().evaluations == 4


def test_the_package_is_the_function_and_nothing_heavy_is_imported():
    code = """
import sys, vevolve
import vevolve.evolve.api
assert callable(vevolve.evolve), vevolve.evolve
assert vevolve.evolve.api.evolve.__name__ == "evolve"
run = vevolve.evolve("circle_packing/grid", evaluations=1, workers="inline")
assert run.config.evaluations == 1
heavy = {"torch", "ray", "openai", "anthropic", "triton"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_bad_settings_reach_the_caller_of_evolve():
    with pytest.raises(UnknownName, match="Did you mean 'lag'"):
        vevolve.evolve("circle_packing/grid", lagg=3)


def test_a_preview_shows_the_first_prompt_and_no_select_number():
    preview = api.preview(Config(seed="circle_packing/grid", workers="inline", evaluations=10))
    assert "26 circles" in preview.prompt.system
    assert "def pack" in preview.prompt.user
    assert (preview.usd_per_call, preview.usd_total) == (0.0, 0.0)

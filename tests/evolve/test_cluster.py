"""Ray actors as workers."""

from __future__ import annotations

import marshal
import os
import pickle
import signal
import sys
import tempfile
import threading
import types
from pathlib import Path

import pytest

from vevolve.errors import BadProblem, UnknownName, WorkerFailure
from vevolve.evaluators.fresh import Fresh
from vevolve.evolve import cluster
from vevolve.evolve.workers import Job, Meeting
from vevolve.types import Candidate, Containment, Seed

ROOT = Path(__file__).resolve().parents[2]


def make_watched():
    """A worker that tells of the process it lives in, and that can be made to die. It needs no globals."""
    import importlib
    import os
    import sys
    from pathlib import Path

    from vevolve.evaluators.contract import Problem, Workload
    from vevolve.evaluators.fresh import STAGE
    from vevolve.evolve.workers import Inline
    from vevolve.types import Containment, Point, Subject, Verdict

    class Watch(Problem):
        """Reports on its own process."""

        def fresh(self, key: Seed) -> Workload:
            return Workload(STAGE, key, inputs=key.key.hex())

        def examine(self, subject: Subject, workload: Workload) -> Verdict:
            words = subject.candidate.source.split()
            if words[0] == "die_once" and not Path(words[1]).exists():
                Path(words[1]).touch()
                os._exit(1)
            if words[0] == "die":
                os.kill(os.getpid(), 9)
            if words[0] == "raise":
                raise ZeroDivisionError("the evaluator is wrong")
            try:
                kernels = importlib.import_module("kernels").__file__ or ""
            except ImportError:
                kernels = ""
            report = {"pid": os.getpid(), "path": sys.path, "cwd": str(Path.cwd()), "kernels": kernels}
            return Verdict(valid=True, points=(Point(label="x", split=workload.stage.split, one=1.0),), report=report)

    Watch.name, Watch.objectives, Watch.functions, Watch.hash = "watch", (), (), "none"

    class Plain:
        containment = Containment(level="L1")

        def subject(self, candidate: object) -> object:
            known = {"candidate": candidate, "processes": 0, "cpu_s": 0.0, "containment": self.containment}
            return type("S", (), known)()

        def close(self) -> None: ...

    return Inline(Watch(), Plain)


@pytest.mark.timeout(400)
def test_actors_examine_die_are_replaced_and_never_see_the_repository(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # another cluster's, which nobody asked for
    folder = tempfile.mkdtemp(prefix="t-", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    try:
        workers = cluster.open_hosts(2, recipe())
    finally:
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
    try:
        assert signals == [signal.SIGTERM], "answered as before, and no crash to Ray"
        assert "SIGTERM" not in capfd.readouterr().err
        assert list(Path(folder).iterdir()), "the cluster's own folder"
        assert workers.containment.level == "L1"
        assert len(workers) == 2
        reports = [workers.submit(Job(Candidate("look"), Seed.fresh())).result(120).report for _ in range(4)]
        assert all(report["pid"] != os.getpid() for report in reports)
        for report in reports:
            assert str(ROOT) not in report["path"], "kernels/ must not be importable as `kernels`"
            assert "" not in report["path"]
            assert not report["kernels"].startswith(str(ROOT))
            assert not report["cwd"].startswith(str(ROOT))
        flag = tmp_path / "died"
        assert workers.submit(Job(Candidate(f"die_once {flag}"), Seed.fresh())).result(120).valid
        assert flag.exists()
        flag = tmp_path / "died_as_an_incumbent"
        both = workers.meet(_meeting("look", f"die_once {flag}")).result(120)
        assert flag.exists()
        assert len({verdict.report["pid"] for verdict in both} - {os.getpid()}) == 1, "one new process met both"
        assert both[0].problem == both[1].problem, "on one document"
        with pytest.raises(BadProblem, match=r"at .*test_cluster\.py:\d+: ZeroDivisionError: the evaluator is wrong"):
            workers.submit(Job(Candidate("raise"), Seed.fresh())).result(120)
        with pytest.raises(WorkerFailure, match=r"tried twice: A worker's process was lost") as error:
            workers.submit(Job(Candidate("die"), Seed.fresh())).result(120)
        assert "\n" not in str(error.value)
        assert workers.submit(Job(Candidate("look"), Seed.fresh())).result(120).valid, "the run can go on"
        with pytest.raises(WorkerFailure, match=r"\w+ or \w+ could not be examined, tried twice: A worker's process"):
            workers.meet(_meeting("look", "die")).result(120)
        assert _printed_of_a_daemons_report(monkeypatch, capfd) == ""
        listeners = _listeners()
        assert listeners, "Ray listens somewhere"
        assert listeners <= {
            "0100007F",
            "0000000000000000FFFF00000100007F",
            "00000000000000000000000001000000",
        }
    finally:
        workers.close()
    assert list(Path(folder).iterdir()) == [], "nothing of an ended cluster stays"
    Path(folder).rmdir()


@pytest.mark.timeout(400)
def test_a_machine_with_another_problem_is_refused():
    with pytest.raises(WorkerFailure, match=r"The problem differs on .* \(hash none, here 0123456789ab\)"):
        cluster.open_hosts(1, recipe(), problem="0123456789abcdef")
    assert not sys.modules["ray"].is_initialized(), "the cluster is ended"


def test_a_problem_that_a_machine_lacks_is_told_in_one_line():
    def make():
        raise UnknownName("problem", "/data/mine", ["sparse_decode"])

    with pytest.raises(
        WorkerFailure, match=r"cannot load the problem: No problem named '/data/mine'\..*same path"
    ) as error:
        cluster.Host(make).open()
    assert "\n" not in str(error.value)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@pytest.mark.parametrize("version", ["0.0.1"])
def test_a_machine_with_another_version_is_refused(version):
    opened = cluster.Opened(Containment(level="L1"), "none", version, "far")
    with pytest.raises(WorkerFailure, match=r"worker on far has vEvolve 0\.0\.1, this process"):
        cluster.Actor(recipe())._compare(opened)


def _meeting(challenger, incumbent):
    return Meeting(Candidate(challenger), Candidate(incumbent), Fresh(Seed(b"key"), 0), ("x",))


def recipe():
    """Makes the watched worker in an actor, which cannot import this module."""
    code = marshal.dumps(make_watched.__code__)
    return lambda: types.FunctionType(marshal.loads(code), {})()


def _printed_of_a_daemons_report(monkeypatch, capfd):
    """What reaches the terminal of a report that one of Ray's daemons sends to the driver."""
    from ray._private import utils, worker

    received, original = threading.Event(), worker.print_to_stdstream

    def observed(*arguments, **named):
        original(*arguments, **named)
        received.set()

    monkeypatch.setattr(worker, "print_to_stdstream", observed)
    capfd.readouterr()
    utils.publish_error_to_driver("test", "a long report", gcs_client=worker.global_worker.gcs_client)
    assert received.wait(30), "the report arrives"
    return "".join(capfd.readouterr())


def _listeners() -> set[str]:
    """The local addresses on which the cluster of this process listens, in the kernel's notation."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[fields[9]] = fields[1].partition(":")[0]
    found = set()
    for process in _crew():
        try:
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        found |= {sockets[link[8:-1]] for link in links if link.startswith("socket:[") and link[8:-1] in sockets}
    return found


def _crew() -> list[Path]:
    """Ray's processes below this one. Another cluster may run on this machine, such as that of another test."""
    parents, names = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
            names[process.name] = (process / "cmdline").read_bytes()
        except OSError:
            continue
    below, new = set(), {str(os.getpid())}
    while new := {pid for pid, parent in parents.items() if parent in new}:
        below |= new
    rays = [pid for pid in below if pid in names and (b"ray" in names[pid] or b"gcs_server" in names[pid])]
    return [Path("/proc") / pid for pid in rays]

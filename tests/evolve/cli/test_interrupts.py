"""Ctrl-C and SIGTERM: the first ends a run in order, the second at once, whatever is going on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STUBBORN = """
import atexit, sys, time
from pathlib import Path
from types import SimpleNamespace

from vevolve.evolve.cli import panel, run, summary
from vevolve.evolve.run import RunDirectory

class Stubborn:
    '''Drops what is raised in it, as destructors do, and ends only where it is told to.'''

    directory = RunDirectory(Path(sys.argv[2]))
    resume_command = "vevolve resume mine --evaluations 7"
    stops = 0

    def stop(self):
        self.stops += 1
        assert self.stops == 1

    def __iter__(self):
        if sys.argv[1] == "at exit":
            atexit.register(linger)  # as Ray does once it is imported
        print("begun", flush=True)
        return self

    def __next__(self):
        while not (self.stops and sys.argv[1] == "at exit"):
            try:
                time.sleep(0.02)
            except BaseException:
                pass
        raise StopIteration

def linger():
    print("leaving", flush=True)
    while True:
        try:
            time.sleep(0.02)
        except BaseException:
            pass

if sys.argv[1] == "at exit":
    summary.conclude = lambda run, as_json, stopped: print("front", stopped, flush=True) or 0
sys.exit(run._drive(Stubborn(), as_json=sys.argv[3] == "json"))
"""


def stubborn(folder: Path, when: str, form: str) -> subprocess.Popen[str]:
    """A run that exceptions do not end, once it has begun."""
    command = [sys.executable, "-c", STUBBORN, when, str(folder), form]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
@pytest.mark.parametrize("form", ["lines", "json"])
def test_a_second_signal_leaves_at_once_where_an_exception_would_be_dropped(tmp_path: Path, first, form) -> None:
    (tmp_path / "archive.db").touch()
    process = stubborn(tmp_path, "running", form)
    process.send_signal(first)
    said = heard(process, "quits at once")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    told, silent = (err, out) if form == "json" else (out, err)
    assert re.search(r"\nStopped\. Go on with:\n  .*vevolve\S* resume mine --evaluations 7\n$", told)
    assert silent.strip() == ""
    assert (said + err).count("Finishing what is in flight; Ctrl-C again quits at once.") == 1


def test_a_second_signal_before_anything_began_says_so(tmp_path: Path) -> None:
    process = stubborn(tmp_path, "running", "lines")
    process.send_signal(signal.SIGINT)
    heard(process, "quits at once")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("\nStopped before anything was examined.\n", "")
    assert process.returncode == 1


def test_a_signal_while_the_process_takes_its_time_to_exit_ends_it_and_repeats_nothing(tmp_path: Path) -> None:
    process = stubborn(tmp_path, "at exit", "lines")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["front True\n", "leaving\n"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.count("Finishing") == 1
    assert "Traceback" not in err


def heard(process: subprocess.Popen[str], text: str) -> str:
    """What a process has said to its standard error by the time that it says this."""
    assert process.stderr is not None
    said = ""
    deadline = time.monotonic() + 30
    while text not in said and time.monotonic() < deadline:
        said += process.stderr.readline()
    return said

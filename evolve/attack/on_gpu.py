"""Attacks by programs that have a GPU in their hands, timed and verified by this side.

Each is a whole program in `sandbox/attacks/gpu/`. The task: `build` gets a matrix, which stays on the device; `score`
gets a query, fresh for each call, and returns the product. An honest program is timed in turn with the hostile one, and
verified like it. Where there is no GPU, they are told as skipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np

from vevolve.errors import SandboxUnavailable
from vevolve.evolve.attack.corpus import Attack
from vevolve.evolve.attack.trial import CONTAINED, Outcome
from vevolve.kernels.timing import Timing, time_in_turn
from vevolve.sandbox import Limits, Sandbox, profiles
from vevolve.sandbox.process import SandboxedProcess
from vevolve.types import Array, Candidate, CandidateFault, Json

LIMITS = Limits(memory_bytes=8 << 30, call_s=30)
ROWS, DIM, ROUNDS = 1 << 16, 256, 12
MATRIX_SEED, QUERY_SEED = 5, 7
SLOW_S = 0.02
"""An honest call takes well under a millisecond. Beside an attack it may not look this slow."""
TOLERANCE = 1e-2
HONEST = """
held = {}
def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)
def score(query):
    return held["matrix"] @ query
"""


def fresh(number: int) -> np.ndarray[Any, Any]:
    """The query of a call, float32 [DIM]."""
    return np.random.default_rng([QUERY_SEED, number]).standard_normal(DIM).astype(np.float32)


class Contestant:
    """A program that is asked on the device.

    Attributes:
        fault: what ended it.
    """

    def __init__(self, sandbox: Sandbox, text: str) -> None:
        self._subject = sandbox.subject(Candidate(text))
        self._process: SandboxedProcess | None = None
        self._returns = Array("f4", (0,))
        self.fault: CandidateFault | None = None

    def open(self, matrix: np.ndarray[Any, Any]) -> None:
        """Give its process the matrix. A fault is raised by the first question."""
        self._returns = Array("f4", matrix.shape[:1])
        try:
            self._process = self._subject.fresh()
            self._process.call("build", matrix, returns=Json())
        except CandidateFault as fault:
            self.fault = fault

    def __call__(self, query: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Its answer, float32 [rows]. Raises `CandidateFault`."""
        if self.fault is not None or self._process is None:
            raise self.fault or CandidateFault("crash", "it was never opened")
        try:
            answer: np.ndarray[Any, Any] = self._process.call("score", query, returns=self._returns)
        except CandidateFault as fault:
            self.fault = fault
            raise
        return answer

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.close()


class Contest:
    """An honest and a hostile program on one device, asked in turn.

    Args:
        sandbox: in which both run.
        quiet: a probe of ours that shows work left running on the device; None on a CPU.
        rows: of the matrix.
        slow_s: seconds from which on an honest call was disturbed.
    """

    def __init__(
        self, sandbox: Sandbox, quiet: Callable[[], float] | None, rows: int = ROWS, slow_s: float = SLOW_S
    ) -> None:
        self._sandbox, self._quiet, self._slow_s = sandbox, quiet, slow_s
        self.matrix = np.random.default_rng(MATRIX_SEED).standard_normal((rows, DIM), dtype=np.float32)

    def run(self, one: Attack) -> Outcome:
        """Carry out one attack."""
        hostile = Contestant(self._sandbox, one.text)
        times = self._time({"honest": Contestant(self._sandbox, HONEST), "hostile": hostile}, ROUNDS)
        real_s = float(Candidate(one.text).constants.get("REAL_S", 0.0))
        word = _word(times, real_s, hostile.fault.status if hostile.fault else "")
        said = {name: "; ".join(timing.faults)[:300] for name, timing in times.items()}
        found: list[str] = []
        if not times["honest"].counts or times["honest"].median.middle >= self._slow_s:
            found.append(f"an honest program beside it was slow or at fault: {said['honest']}")
        if word not in one.expected:
            found.append(f"its verdict is {word}: {said['hostile']}")
        held = CONTAINED.get(word, "the clock, which is the verifier's: nothing was gained")
        return Outcome(
            name=one.name,
            group=one.group,
            expected=" or ".join(one.expected),
            verdict=word,
            contained_by=f"nothing: {'; '.join(found)}" if found else ": ".join(filter(None, [held, said["hostile"]])),
            succeeded=bool(found),
        )

    def times(self, rounds: int = ROUNDS, **texts: str) -> dict[str, Timing]:
        """Time programs in turn, verify all that they answer, and end them."""
        return self._time({name: Contestant(self._sandbox, text) for name, text in texts.items()}, rounds)

    def _time(self, contestants: dict[str, Contestant], rounds: int) -> dict[str, Timing]:
        try:
            for one in contestants.values():
                one.open(self.matrix)
            end = lambda name: contestants[name].close()  # noqa: E731
            quiet = self._quiet
            return time_in_turn(contestants, fresh, self.check, rounds=rounds, warm_up=2, quiet=quiet, end=end)
        finally:
            for one in contestants.values():
                one.close()

    def check(self, query: np.ndarray[Any, Any], answer: np.ndarray[Any, Any]) -> str:
        """What is wrong with an answer, or ""."""
        worst = np.abs(answer - self.matrix @ query)
        right = worst.max(initial=0.0) < TOLERANCE and np.isfinite(answer).all()
        return "" if right else f"off by {worst.max():.3g}"


@contextlib.contextmanager
def contest() -> Generator[Contest, None, None]:
    """A contest on this machine's first GPU. Raises `SandboxUnavailable` where there is none; the message says why."""
    with Sandbox(limits=LIMITS, profile=profiles.gpu()) as sandbox:
        from vevolve.kernels.timing_device import Quiet

        yield Contest(sandbox, Quiet())


@contextlib.contextmanager
def device_siege() -> Generator[Callable[[Attack], Outcome], None, None]:
    """What carries out attacks on a GPU; where none can be used, it tells each as skipped, and why."""
    with contextlib.ExitStack() as held:
        try:
            run = held.enter_context(contest()).run
        except SandboxUnavailable as error:
            run = partial(skipped, str(error))
        yield run


def _word(times: dict[str, Timing], real_s: float, status: str) -> str:
    """The verdict on the hostile program.

    Args:
        times: of the honest program and the hostile one.
        real_s: what a call to the hostile one takes in truth; 0 where it must not be faster than the honest one.
        status: of the fault that ended it.
    """
    honest, hostile = times["honest"], times["hostile"]
    if hostile.faults:
        return status or "wrong"
    if not hostile.counts:
        return "suspect"
    least_s = real_s or (honest.median.low if honest.counts else np.inf)
    return "fair" if hostile.median.low >= least_s else "better"


def skipped(why: str, one: Attack) -> Outcome:
    """An attack that could not be carried out. It is no success, and proves nothing."""
    expected = " or ".join(one.expected)
    return Outcome(
        name=one.name, group=one.group, expected=expected, verdict="skipped", contained_by=why, succeeded=False
    )

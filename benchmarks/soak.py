"""Thousands of hostile candidates in one sandbox, honest ones between them.

python benchmarks/soak.py [N, default 10000] [seed]

Hostile ones are the shipped attacks, the cheats of circle_packing, and as many again that are put together at random.
All run once in the first round; after that, those that take long (they sleep until a deadline, or use up memory) are
drawn seldom. Ends with 0 only where

- every candidate took at most its time limit plus two seconds,
- every honest candidate was scored exactly as alone, and no hostile one better than the best of them,
- no process is left, the warm process is the first one, and nothing outside was touched or reached,
- memory and open files, here and in the warm process, are as they were after the first round.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import examine
from vevolve.evolve.attack.corpus import cheats, general
from vevolve.evolve.attack.splice import candidate_of
from vevolve.evolve.attack.surroundings import Surroundings
from vevolve.evolve.attack.trial import survivors
from vevolve.sandbox import Limits, Sandbox
from vevolve.types import Candidate, Seed, Verdict

LIMITS = Limits(call_s=1.0, total_s=1.5, candidate_s=2.0, memory_bytes=1 << 28)
GRACE_S = 2.0
HONEST_EVERY, SELDOM, SLOW_S = 4, 200, 0.25
GROWTH_BYTES, GROWTH_FILES = 16 << 20, 0
SEED = Seed(b"soak of a sandbox")

HONEST = (
    "from math import ceil, sqrt\ndef pack(n):\n    k = ceil(sqrt(n))\n"
    "    return [[(i % k + .5) / k, (i // k + .5) / k, {radius} / k] for i in range(n)]\n"
)
PRELUDE = (
    "import ctypes, gc, os, signal, sys, threading, time\n"
    "def runtime(): return next(found for found in gc.get_objects() if type(found).__name__ == 'Runtime')\n"
    "def hurt():\n"
)
ACTS = (
    "os.write({fd}, bytes({small}))",
    "os.write(3, os.urandom({small}))",
    "os.write(3, runtime().nonce + bytes([{byte}]) + ({small}).to_bytes(8, 'little') + bytes({fd}))",
    "runtime().nonce = os.urandom(16)",
    "runtime().buffer = None",
    "os.close({fd})",
    "os.dup2({fd}, 3)",
    "[threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range({fd})]",
    "print('x' * {large})",
    "sys.stdout = None",
    "held = bytearray({large} * 64)",
    "sys.setrecursionlimit({large})",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "ctypes.string_at({small})",
    "os._exit({fd})",
    "os.kill(os.getpid(), {fd})",
    "open('note', 'wb').write(bytes({large}))",
    "sys.modules.clear()",
    "__builtins__['len'] = lambda found: {small}",
    "raise [KeyboardInterrupt, SystemExit, MemoryError, OSError, GeneratorExit][{fd} % 5]({small})",
    "gc.collect()",
    "sys.settrace(lambda *found: None)",
    "os.environ['PATH'] = '/tmp'",
    "[].append(1 << {large})",
)
ANSWERS = (
    "honest(n)",
    "[[float('nan')] * 3] * n",
    "[[0, 0, 1]] * {fd}",
    "None",
    "'x' * {small}",
    "object()",
    "n",
    "[n]",
)


def made_up(draw: random.Random) -> Candidate:
    """A hostile program of random acts around a random answer."""

    def fill(text: str) -> str:
        values = {"fd": draw.randrange(40), "byte": draw.randrange(256), "small": draw.randrange(400)}
        return text.format(**values, large=draw.randrange(1 << 20))

    acts = "".join(f"    {fill(act)}\n" for act in draw.choices(ACTS, k=draw.randint(1, 4)))
    answer = fill(draw.choice(ANSWERS))
    text = HONEST.format(radius=0.5).replace("pack", "honest")
    return Candidate(f"{text}{PRELUDE}{acts}def pack(n):\n    hurt()\n    return {answer}\n")


@dataclass
class Soak:
    """What was seen.

    Attributes:
        honest: how many honest ones ran.
        shipped: how many different shipped attacks ran.
        statuses: how often each verdict was given, of hostile candidates.
        slowest_s: the longest examination of one.
        complaints: what must not have happened.
    """

    count: int
    honest: int = 0
    shipped: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Size:
    """Memory and open files, here and in the warm process."""

    own_bytes: int
    warm_bytes: int
    own_files: int
    warm_files: int

    @classmethod
    def of(cls, warm: int) -> Size:
        """As they are now."""
        gc.collect()
        page = resource.getpagesize()
        resident = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in ("self", warm)]
        files = [sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in ("self", warm)]
        return cls(*resident, *files)

    def __str__(self) -> str:
        return (
            f"memory {self.own_bytes >> 20} + {self.warm_bytes >> 20} MiB, files {self.own_files} + {self.warm_files}"
        )


def scores(verdict: Verdict) -> list[tuple[str, float]]:
    """What a candidate is worth, exactly."""
    return [(point.split, point["sum_radii"]) for point in verdict.points]


def soak(count: int, seed: int = 0, most: int | None = None, say=print) -> Soak:  # type: ignore[no-untyped-def]
    """Run so many candidates, with all shipped attacks or, for a short soak, so many at most."""
    problem, draw, found = load("circle_packing"), random.Random(seed), Soak(count)
    with Surroundings() as around:
        text = problem.seed(problem.default_seed).read_text(encoding="utf-8")
        attacks = [*general(), *cheats(problem)]
        shipped = [candidate_of(one, problem, text, around.flag, around.places()) for one in attacks]
        draw.shuffle(shipped)
        shipped = shipped[:most]
        honest = [Candidate(text), *(Candidate(HONEST.format(radius=radius)) for radius in (0.5, 0.45, 0.4, 0.3))]
        with Sandbox(problem.arrays, LIMITS) as sandbox:
            alone = {candidate: scores(examine(problem, sandbox.subject(candidate), SEED)) for candidate in honest}
        if not all(alone.values()):
            raise RuntimeError("an honest candidate has no score, even alone")
        best = max(value for values in alone.values() for _, value in values)
        with Sandbox(problem.arrays, LIMITS) as sandbox:
            found.complaints += _run(problem, sandbox, found, draw, shipped, alone, best, say)
            left, warm = survivors(sandbox.pid), sandbox.pid
        if left:
            found.complaints.append(f"{left} processes are left")
        if Path(f"/proc/{warm}").exists():
            found.complaints.append("the warm process outlived the sandbox")
        found.complaints += around.effects("")
    return found


def _run(problem: Problem, sandbox: Sandbox, found: Soak, draw, shipped, alone, best: float, say) -> list[str]:  # type: ignore[no-untyped-def]
    complaints: list[str] = []
    honest, quick, slow, first = list(alone), [], [], sandbox.pid
    level, started, before = sandbox.containment.level, time.monotonic(), None
    most = LIMITS.candidate_s + GRACE_S
    for turn in range(found.count):
        if turn % HONEST_EVERY == 0:
            candidate = draw.choice(honest)
            verdict = examine(problem, sandbox.subject(candidate), SEED)
            found.honest += 1
            if scores(verdict) != alone[candidate]:
                complaints.append(f"#{turn}: an honest candidate got {verdict.status} {verdict.feedback[:100]}")
        else:
            first_time = bool(shipped)
            new = shipped.pop() if shipped else made_up(draw) if draw.random() < 0.5 or not quick else None
            old = slow if slow and draw.randrange(SELDOM) == 0 else quick
            candidate = new or draw.choice(old)
            begun = time.monotonic()
            verdict = examine(problem, sandbox.subject(candidate), SEED)
            took = time.monotonic() - begun
            found.slowest_s = max(found.slowest_s, took)
            found.statuses[verdict.status] += 1
            if first_time:
                found.shipped += 1
                (slow if took > SLOW_S else quick).append(candidate)
            if took > most:
                complaints.append(f"#{turn}: a hostile candidate took {took:.2f} s")
            if any(value > best for _, value in scores(verdict)):
                complaints.append(f"#{turn}: a hostile candidate was scored {scores(verdict)}")
        if sandbox.pid != first:
            complaints.append(f"#{turn}: the warm process was ended")
            first = sandbox.pid
        if (turn + 1) % max(found.count // 10, 1) == 0:
            size, each = Size.of(sandbox.pid), (time.monotonic() - started) / (turn + 1)
            say(f"{turn + 1:6} candidates, level {level}, {each * 1e3:.0f} ms each, {size}")
            if before is None and not shipped:
                before = size
    if before is not None:
        complaints += _growth(before, Size.of(sandbox.pid))
    return complaints


def _growth(before: Size, after: Size) -> list[str]:
    grown = [after.own_bytes - before.own_bytes, after.warm_bytes - before.warm_bytes]
    more = [after.own_files - before.own_files, after.warm_files - before.warm_files]
    found = [f"memory grew by {size >> 20} MiB" for size in grown if size > GROWTH_BYTES]
    return found + [f"{count} more files are open" for count in more if count > GROWTH_FILES]


def main(count: int, seed: int) -> int:
    began = time.monotonic()
    found = soak(count, seed, say=lambda line: print(line, flush=True))
    took = time.monotonic() - began
    print(f"{count} candidates in {took:.0f} s, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"{found.honest} honest ones, {found.shipped} shipped attacks; hostile: "
        + ", ".join(f"{n} {word}" for word, n in found.statuses.most_common())
    )
    print(f"the slowest took {found.slowest_s:.2f} s of {LIMITS.candidate_s + GRACE_S:.0f} s")
    for line in found.complaints:
        print(f"FAILED: {line}")
    print("passed" if not found.complaints else f"{len(found.complaints)} complaints")
    return 1 if found.complaints else 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in [*sys.argv[1:], *["10000", "0"][len(sys.argv) - 1 :]])))

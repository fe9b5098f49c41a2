"""What an archive costs the loop: CPU milliseconds per iteration as it grows, and seconds to open a large one.

An iteration asks for ranks, children, totals, duplicates and the gain of 5 points, and appends `asked`, `proposed` and
`told` in two transactions. The verdict's report and the prompt have the size of the flagship's. Hashing the syntax tree
of the new program, which the search for duplicates needs whatever the archive does, is shown by itself and not counted.

    python benchmarks/archive.py [--candidates 100 1000 10000] [--objectives 2]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import deque
from pathlib import Path

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Proposed, Started, Told
from vevolve.archive.fold import traits
from vevolve.types import Candidate, Containment, Objective, Point, Verdict

MEASURED = 100
NAMES = ("traffic", "error", "latency")


def started(objectives: int) -> Started:
    return Started(
        run="bench",
        version="0",
        problem="sparse_decode",
        problem_hash="0" * 64,
        objectives=tuple(Objective(name, "min", worst=10.0, best=0.001, scale="log10") for name in NAMES[:objectives]),
        seed="sparse_decode/vattention",
        seed_commitment="0" * 64,
        config={},
        containment=Containment(),
    )


def program(number: int) -> str:
    """About 120 lines, as a seed of the flagship has."""
    body = "\n".join(f"    part_{line} = keys[{line}] * {number}.{line} + values[{line}]" for line in range(110))
    head = "def select(query, index, cache, budget):\n    keys, values = index, query"
    return f"{head}\n{body}\n    return part_0, part_1\n"


def verdict(random_: random.Random, objectives: int, number: int) -> Verdict:
    """Points that get better slowly, each a trade-off between the objectives."""
    points: list[Point] = []
    for budget in (32, 64, 128, 256, 512):
        worse = 1 + 4 * random_.random() ** 2 * 200 / (200 + number)
        values = {"traffic": 0.0005 * budget * worse, "error": 20 / budget * random_.uniform(0.5, 1) * worse}
        values["latency"] = random_.uniform(0.01, 1) * worse
        points.append(Point(label=f"{budget} tokens", tokens=budget, **{n: values[n] for n in NAMES[:objectives]}))
    report = {"layers": [{"layer": i, "heads": [{"head": h, "error": 0.1 * h} for h in range(3)]} for i in range(60)]}
    return Verdict(valid=True, points=tuple(points), feedback="worst layers: 3, 7\n" * 20, report=report)


def iterate(archive: Archive, random_: random.Random, found: Verdict, candidate: Candidate, number: int) -> None:
    ranks = archive.ranks()
    parent = random_.choice(list(ranks)) if ranks else None
    archive.children()
    archive.totals()
    parents = (parent,) if parent else ()
    archive.append(Asked(iteration=number, operation="mutate", parents=parents, proposer="offline"))
    if parent:
        archive.record(parent)
    archive.duplicate_of(candidate)
    archive.append(
        Proposed(iteration=number, attempt=0, proposer="offline", system="s" * 4000, user="u" * 8000, reply="r" * 4000),
        Told(
            iteration=number,
            source=candidate.source,
            parents=parents,
            operation="mutate",
            proposer="offline",
            verdict=found,
            hypervolume_gain=archive.gain(found.points),
        ),
    )


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--candidates", type=int, nargs="*", default=[100, 1000, 10000])
    options.add_argument("--objectives", type=int, nargs="*", default=[2, 3])
    given = options.parse_args()
    print("objectives candidates  CPU ms/iteration  wall ms  syntax hash ms  open + ranks CPU s     MB")
    for objectives in given.objectives:
        with tempfile.TemporaryDirectory() as folder:
            random_, spent = random.Random(0), deque[tuple[float, float, float]](maxlen=MEASURED)
            archive = Archive.create(Path(folder), started(objectives))
            for number in range(1, max(given.candidates) + 1):
                found, candidate = verdict(random_, objectives, number), Candidate(program(number))
                clocks = [time.process_time()]
                traits(candidate)
                clocks.append(time.process_time())
                wall = time.perf_counter()
                iterate(archive, random_, found, candidate, number)
                spent.append((time.process_time() - clocks[1], time.perf_counter() - wall, clocks[1] - clocks[0]))
                if number in given.candidates:
                    own, wall, hashing = (1000 * sum(column) / len(spent) for column in zip(*spent, strict=True))
                    start = time.process_time()
                    with Archive.open(Path(folder)) as reader:
                        reader.ranks()
                    opened = time.process_time() - start
                    megabytes = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
                    print(
                        f"{objectives:>10} {number:>10} {own:>17.2f} {wall:>8.2f} {hashing:>15.2f}"
                        f" {opened:>19.2f} {megabytes:>6.0f}",
                        flush=True,
                    )
            archive.close()


if __name__ == "__main__":
    main()

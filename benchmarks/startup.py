"""How long `vevolve --help` keeps you waiting, beside a bare interpreter. Median of repeated runs; goal: 0.3 s."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import vevolve": [sys.executable, "-c", "import vevolve"],
    "vevolve --help": [sys.executable, "-m", "vevolve.evolve.cli", "--help"],
    "vevolve ls --help": [sys.executable, "-m", "vevolve.evolve.cli", "ls", "--help"],
}


def measure(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    print(f"{'command':<20} {'wall s':>8} {'CPU s':>8}   median of {RUNS}")
    for name, command in COMMANDS.items():
        measure(command)
        samples = [measure(command) for _ in range(RUNS)]
        wall, cpu = (statistics.median(column) for column in zip(*samples, strict=True))
        print(f"{name:<20} {wall:8.3f} {cpu:8.3f}")


if __name__ == "__main__":
    main()

"""One decode step of one layer on an NVIDIA GPU: our kernels against PyTorch's SDPA and FlashInfer on the same tensors.

python benchmarks/decode.py [--rounds 30] [--json FILE] [--plot FILE.png] [--only 8x131072]

Every contestant is captured in a CUDA graph of its own. Each call has a new query and new ids, the L2 cache is flushed
before it, outputs are poisoned and every timed answer is checked. Contestants are asked in turn in random order; what
is printed is the median time on the device with its 95 % bootstrap interval, and the ratio of FlashInfer's (else
SDPA's) time to it, round by round. The device sleeps while a call is enqueued, so that the host's time is not in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from decode_figure import draw
from decode_rows import enlist
from decode_step import GROUP, HEADS, PAGE, WIDTH, Contestant, Question, Step

from vevolve.kernels.timing import Timing, time_in_turn
from vevolve.kernels.timing_figures import ratio_interval

SHAPES = ((1, 32768), (1, 131072), (8, 32768), (8, 131072))
SLEEP = 200_000
"""Cycles of the device, about a tenth of a millisecond."""


class OnTheDevice:
    """A `Timer` by the device's events, behind a sleep in which the host enqueues all of the call.

    Flushing by writing leaves a cache full of lines that whoever reads next must wait to see written back, 50 MB of
    them on an H200. So a buffer is read first: the cache is as cold, and clean.
    """

    def __init__(self) -> None:
        size = 4 * torch.cuda.get_device_properties(0).L2_cache_size
        self._clean = torch.randint(256, (size,), dtype=torch.uint8, device="cuda").view(torch.int64)

    def __call__(self, call: Callable[[], Contestant]) -> tuple[Contestant, float]:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._clean.amax()
        torch.cuda._sleep(SLEEP)
        start.record()
        answer = call()
        stop.record()
        stop.synchronize()
        return answer, start.elapsed_time(stop) / 1e3


def asked(contestant: Contestant) -> Callable[[Question], Contestant]:
    """A contestant as `time_in_turn` asks it."""

    def ask(_: Question) -> Contestant:
        contestant.replay()
        return contestant

    return ask


def measure(batch: int, n: int, rounds: int, shared: dict[str, Any]) -> dict[str, Any]:
    """The table of one shape: name -> median, interval, ratio with interval, multiple of the byte floor."""
    step = Step(batch, n)
    enlist(step)
    timings = time_in_turn(
        {name: asked(contestant) for name, contestant in step.contestants.items()},
        step.fresh,
        step.check,
        rounds=rounds,
        quiet=shared["quiet"],
        bytes_moved=lambda _, contestant: contestant.bytes_read,
        roofline=shared["roofline"],
        timer=shared["timer"],
    )
    base = "FlashInfer" if "FlashInfer" in timings and timings["FlashInfer"].counts else "PyTorch SDPA"
    found = {}
    for name, timing in timings.items():
        found[name] = row(timing, timings[base], step.contestants[name].bytes_read, shared["roofline"].measured)
    return {"base": base, "rows": found}


def row(timing: Timing, base: Timing, bytes_read: float, rate: float) -> dict[str, Any]:
    """The figures of a contestant, as they are written and printed."""
    if timing.faults:
        return {"fault": timing.faults[0]}
    median = timing.median
    found: dict[str, Any] = {
        "us": [round(1e6 * value, 2) for value in (median.low, median.middle, median.high)],
        "floor_us": round(1e6 * bytes_read / rate, 2),
        "suspect": timing.suspect,
    }
    if base.counts:
        ratio = ratio_interval(base.seconds, timing.seconds)
        found["ratio"] = [round(value, 2) for value in (ratio.low, ratio.middle, ratio.high)]
    return found


def show(batch: int, n: int, table: dict[str, Any]) -> None:
    """Print the table of one shape as Markdown."""
    print(f"\nB = {batch}, {n // 1024}k tokens ({table['base']} = 1)\n")
    print("| | us | 95 % | times faster | 95 % | byte floor us | x floor |\n|---|---|---|---|---|---|---|")
    for name, found in table["rows"].items():
        if "fault" in found:
            print(f"| {name} | FAULT: {found['fault']} | | | | | |")
            continue
        low, middle, high = found["us"]
        ratio = found.get("ratio", [float("nan")] * 3)
        floor = found["floor_us"]
        times = f"{middle / floor:.2f}" if floor else ""
        mark = " SUSPECT" if found["suspect"] else ""
        faster = f"{ratio[1]:.2f} | {ratio[0]:.2f} to {ratio[2]:.2f}"
        line = f"| {name}{mark} | {middle:.1f} | {low:.1f} to {high:.1f} | {faster} | {floor:.1f} | {times} |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--plot", type=Path, help="draw the roofline plot here (needs matplotlib)")
    parser.add_argument("--only", help="one shape, such as 8x131072")
    asked_for = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/decode.py needs an NVIDIA GPU; none is here, so nothing was measured.")
        return
    from vevolve.kernels import timing_device

    conditions = timing_device.conditions()
    with timing_device.alone(conditions["uuid"]):
        shared: dict[str, Any] = {"roofline": timing_device.roofline(), "timer": OnTheDevice()}
        shared["quiet"] = timing_device.Quiet()
        rate = shared["roofline"].measured / 1e12
        print("; ".join(f"{key} {value}" for key, value in conditions.items() if key != "uuid"))
        print(f"reading at {rate:.2f} TB/s; bf16, {HEADS * GROUP} query and {HEADS} KV heads, d = {WIDTH}, page {PAGE}")
        written: dict[str, Any] = {"conditions": conditions, "read_TB_s": rate, "shapes": {}}
        for batch, n in SHAPES:
            if asked_for.only and asked_for.only != f"{batch}x{n}":
                continue
            torch.cuda.empty_cache()
            table = measure(batch, n, asked_for.rounds, shared)
            show(batch, n, table)
            written["shapes"][f"{batch}x{n}"] = table
            if asked_for.json:
                asked_for.json.write_text(json.dumps(written, indent=1) + "\n")
        if asked_for.plot:
            draw(written, asked_for.plot)


if __name__ == "__main__":
    main()

"""Draw the picture of the README: what one run evolved, beside its seed and the published methods, on `select`.

python benchmarks/front_figure.py RUN [OUT.png]

The shipped seeds are examined here, in the sandbox; the run's points are read from its archive.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from vevolve import Archive
from vevolve.evaluators.contract import load
from vevolve.evaluators.examination import examine
from vevolve.evaluators.programs import read_program
from vevolve.sandbox import Sandbox
from vevolve.types import Point, Seed

METHODS = {
    "streaming_llm": ("StreamingLLM", "#999999", "v"),
    "quest": ("Quest", "#56B4E9", "s"),
    "pqcache": ("PQCache", "#E69F00", "^"),
    "vattention": ("vAttention over Quest (the seed)", "#0072B2", "D"),
    "vattention_tight": ("vattention_tight (ours)", "#000000", "P"),
    "oracle_topk": ("oracle top-k (reads every key)", "#CC79A7", "x"),
    "vattention_oracle": ("vAttention over an oracle", "#009E73", "+"),
}
"""Shipped seed -> label, colour of Okabe and Ito's palette, marker."""


def measured(name: str, sandbox: Sandbox) -> list[Point]:
    """The token points of a shipped seed on the recorded select traces."""
    problem = load("sparse_decode")
    subject = sandbox.subject(read_program(problem.seed(name)))
    verdict = examine(problem, subject, Seed(b"front figure"), promotion=True)
    if not verdict.valid:
        raise SystemExit(f"{name}: {verdict.status}: {verdict.feedback}")
    return [point for point in verdict.points if not point.family and point.label.endswith("tokens")]


def main(run: Path, out: Path) -> None:
    archive = Archive.open(run)
    evolved = [
        point
        for record, point in archive.front_points("select")
        if record.operation != "seed" and point.label.endswith("tokens")
    ]
    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=160)
    with Sandbox(arrays="torch") as sandbox:
        for name, (label, colour, marker) in METHODS.items():
            points = measured(name, sandbox)
            axes.plot(
                [point["traffic"] for point in points],
                [point["error"] for point in points],
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1,
                label=label,
            )
    axes.scatter(
        [point["traffic"] for point in evolved],
        [point["error"] for point in evolved],
        color="#D55E00",
        marker="*",
        s=70,
        zorder=3,
        label=f"evolved in this run ({archive.totals().evaluations} evaluations, no model)",
    )
    axes.set(xscale="log", yscale="log", xlabel="traffic: share of dense KV bytes", ylabel="error: relative L2, p95")
    axes.set_title("Held-out traces of SmolLM2-135M-Instruct, 32 to 512 tokens of about 1,200", fontsize=10)
    ticks = (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(True, which="both", linewidth=0.3, alpha=0.6)
    axes.legend(fontsize=7.5, framealpha=0.9)
    figure.tight_layout()
    figure.savefig(out)
    print(f"wrote {out}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit((__doc__ or "").split("\n")[2])
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path("front.png"))

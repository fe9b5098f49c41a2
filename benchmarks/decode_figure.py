"""The roofline plot of `decode.py`: how long each contestant took over the bytes that it has to read.

`python benchmarks/decode.py --plot FILE` draws it after measuring; `draw` does so from figures that were kept.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
"""Okabe and Ito's, one for each shape."""
MARKERS = {"dense": "s", "attend": "o", "select": "^", "select + attend": "D", "codes": "P", "vAttention": "*"}


def draw(written: dict[str, Any], out: Path) -> None:
    """Draw figures as `decode.py --json` writes them: median microseconds over megabytes, and the roofline.

    Raises:
        ImportError: matplotlib is not installed (`pip install 'vevolve[plot]'`).
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rate = written["read_TB_s"] * 1e12
    figure, axes = plt.subplots(figsize=(7.6, 5.0), dpi=160)
    reads: list[float] = []
    for colour, (shape, table) in zip(COLOURS, written["shapes"].items(), strict=False):
        batch, n = (int(word) for word in shape.split("x"))
        for name, found in table["rows"].items():
            if "fault" in found or found["suspect"] or not found["floor_us"]:
                continue
            read = found["floor_us"] * 1e-6 * rate
            reads.append(read)
            axes.plot(read / 1e6, found["us"][1], MARKERS[kind(name)], color=colour, markersize=5, alpha=0.8)
        axes.plot([], [], "o", color=colour, label=f"B = {batch}, {n // 1024}k tokens")
    for name, marker in MARKERS.items():
        axes.plot([], [], marker, color="#555555", markersize=5, label=name)
    ends = (min(reads), max(reads))
    axes.plot([end / 1e6 for end in ends], [end / rate * 1e6 for end in ends], "k--", linewidth=1)
    middle = math.sqrt(ends[0] * ends[1])
    axes.annotate(
        f"reading at {rate / 1e12:.2f} TB/s",
        (middle / 1e6, middle / rate * 1e6),
        xytext=(8, -14),
        textcoords="offset points",
        fontsize=8,
    )
    axes.set(xscale="log", yscale="log", xlabel="MB that have to be read", ylabel="microseconds, median")
    axes.set_title(f"One decode step of one layer, {written['conditions'].get('name', 'one GPU')}", fontsize=10)
    axes.legend(fontsize=7, ncols=2)
    axes.grid(visible=True, which="both", alpha=0.2)
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)


def kind(name: str) -> str:
    """Which marker a contestant gets."""
    for word in ("vAttention", "select + attend", "select", "attend"):
        if name.startswith(word):
            return word
    return "codes" if " bits" in name else "dense"

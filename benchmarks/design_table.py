"""The reference table of the design, measured again: seeds on real attention, beside the values that it states.

python benchmarks/design_table.py [TRACE]

SmolLM2-135M-Instruct, the first 4,096 tokens of Python's help topics, even layers, the last 32 queries. The recording
is kept in the temporary folder (or at TRACE), so that a second run is quick. "error_mean / error" per budget.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from vevolve.evaluators.contract import load
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.sparse_decode import generate, models, traces
from vevolve.sandbox import Limits, Sandbox
from vevolve.types import Candidate, Seed

BUDGETS = (32, 64, 128, 256, 512)
STATED = {
    "streaming_llm": ((0.764, 1.60), (0.646, 1.36), (0.355, 0.816), (0.254, 0.566), (0.203, 0.452)),
    "quest": ((0.654, 1.35), (0.465, 0.997), (0.333, 0.711), (0.225, 0.538), (0.136, 0.321)),
    "vattention_oracle": ((0.499, 1.37), (0.355, 1.01), (0.189, 0.495), (0.086, 0.201), (0.035, 0.083)),
    "oracle_topk": ((0.253, 0.561), (0.172, 0.391), (0.117, 0.271), (0.076, 0.181), (0.045, 0.111)),
}
"""By seed and budget: mean error, and mean over (layer, KV head) of the 95th percentile."""


def main(trace: Path) -> None:
    if not trace.is_file():
        print(f"recording {trace} ...", flush=True)
        traces.write(generate.topics(models.load(), layers=range(0, 30, 2)), trace)
    problem = load("sparse_decode")
    workload = problem.workload_from([trace], Seed(b"design table"))
    print(f"{'':20}" + "".join(f"{f'{budget} tokens':>16}" for budget in BUDGETS))
    with Sandbox(arrays="torch", limits=Limits(total_s=600)) as sandbox:
        for name, stated in STATED.items():
            source = problem.seed(name).read_text().replace("VERIFIED = True", "")
            verdict = examine_workload(problem, sandbox.subject(Candidate(source)), workload)
            if not verdict.valid:
                raise SystemExit(f"{name}: {verdict.status}: {verdict.feedback}")
            found = {point.label: (point["error_mean"], point["error"]) for point in verdict.points}
            row("stated", name, dict(zip((f"{budget} tokens" for budget in BUDGETS), stated, strict=True)))
            row("measured", "", found)


def row(kind: str, name: str, values: dict[str, tuple[float, float]]) -> None:
    print(f"{name:20}" + "".join(f"{f'{a:.3f} / {b:.3f}':>16}" for a, b in values.values()) + f"  {kind}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "vevolve-topics.safetensors"))

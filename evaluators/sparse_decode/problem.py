"""The flagship problem: sparse attention decoding under metered reads."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.contract import Certifier, Function, Problem, Published, Sealing, Stage, Workload
from vevolve.evaluators.sparse_decode import feedback, scores, session
from vevolve.evaluators.sparse_decode.session import Session
from vevolve.evaluators.sparse_decode.workload import (
    BUDGETS,
    Case,
    Operating,
    family_cases,
    file_cases,
    operating_points,
    shipped_cases,
    tiny_cases,
    verified,
)
from vevolve.types import Candidate, Objective, Seed, Subject, Verdict

if TYPE_CHECKING:
    from vevolve.evaluators.inside.context import Context
    from vevolve.evaluators.sparse_decode.inside import SparseInside

TINY_BUDGETS = (32, 64)
SKYLIGHT = (
    "Skylight leaderboard (sparse-attention-hub), mean local error, read off a figure. Not the percentile used here: "
    "one norm over all heads of a layer, Llama-3.1-8B at 32k tokens"
)


class SparseDecode(Problem):
    """Choose the tokens that each decode step of attention reads, so that the output stays right and few bytes move.

    A candidate indexes the prompt's keys and values once, then answers every decode step with token ids, inclusion
    probabilities and maybe a small tail. The verifier gathers, attends and compares with dense attention.
    """

    name = "sparse_decode"
    objectives = (
        Objective("traffic", "min", worst=2.0, best=0.005, scale="log10", unit="share of dense KV bytes"),
        Objective(
            "error",
            "min",
            worst=10.0,
            best=0.001,
            scale="log10",
            unit="relative L2, mean over heads of the 95th percentile",
        ),
    )
    functions = (
        Function(name="build", arguments=("keys", "values", "queries", "layer", "params", "rng"), required=False),
        Function(name="append", arguments=("index", "keys", "values", "layer", "params"), required=False),
        Function(name="select", arguments=("query", "index", "cache", "budget", "layer", "params", "rng")),
    )
    stages = (
        Stage(name="tiny"),
        Stage(name="search"),
        Stage(name="select", split="select", promotion=True),
    )
    arrays = "torch"
    shares = ("inside",)
    default_seed = "vattention"
    headline = "128 tokens"
    # About 4 % less error over one doubling of traffic. Less is within what another draw of a sample gives, and a
    # promotion examines three more workloads.
    promotion_gain = 0.005
    published = tuple(
        Published(name=f"{name}, 10 % of 32k tokens", values={"error": error}, source=SKYLIGHT)
        for name, error in (("oracle top-k", 0.077), ("Quest", 0.184), ("vAttention over oracle top-k", 0.026))
    )

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Ask every decode step twice, compare the answers with dense attention, and count the bytes."""
        cases: Sequence[Case] = workload.cases
        tiny = workload.stage.name == "tiny"
        points = operating_points(subject.candidate, TINY_BUDGETS if tiny else BUDGETS)
        answered = session.run(subject, cases, points, workload.seed, alone=0 if tiny else session.ALONE)
        found = scores.blocks(answered, cases)
        figures = scores.points(found, answered, cases, workload.stage.split)
        kept = scores.bounds(found, workload.stage.split)
        promotion = workload.stage.promotion
        return self.verdict(
            *figures,
            bounds=kept,
            feedback=feedback.summarise(found, figures) if promotion else feedback.describe(found, figures, kept),
            report=feedback.report(found, _build_cost(answered, cases)),
        )

    def workload(self, stage: Stage, seed: Seed) -> Workload:
        """The shipped traces of the stage's split; promotion adds both synthetic families."""
        if stage.name == "tiny":
            return Workload(stage, seed, tiny_cases())
        families = family_cases() if stage.promotion else ()
        return Workload(stage, seed, (*shipped_cases(stage.split), *families))

    def workload_from(self, files: Sequence[Path], seed: Seed) -> Workload:
        """A user's own traces: every step is asked. Raises `BadTrace` for a file that is none.

        Points stand under the split that the files name; under `search`, where they name several.
        """
        cases = file_cases(files)
        splits = {case.document.split for case in cases}
        stage = Stage(name="traces", split=splits.pop() if len(splits) == 1 else "search")
        return Workload(stage, seed, cases, inputs=" ".join(case.document.hash for case in cases))

    def inside(self, subject: Subject, context: Context, label: str, seed: Seed) -> SparseInside:
        """Dense prefill, sparse decoding: every token after the context is a decode step of every layer."""
        from vevolve.evaluators.sparse_decode.inside import SparseInside

        return SparseInside(subject, context, label, seed)

    def sealing_point(self, candidate: Candidate, sealing: Sealing) -> dict[str, Any]:
        """The operating point of that label; without one, epsilon and delta, of a method that verifies itself."""
        return dataclasses.asdict(_sealing(candidate, sealing))

    def certifier(self, candidate: Candidate, sealing: Sealing) -> Certifier:
        """Documents of the sealed sources, read by the offline model or the one that is named."""
        from vevolve.evaluators.sealed.sparse_decode import SparseCertifier
        from vevolve.evaluators.sparse_decode.models import OFFLINE, load

        point = _sealing(candidate, sealing)
        named = str(Path(sealing.model).resolve()) if Path(sealing.model or ".missing").is_dir() else sealing.model
        return SparseCertifier(
            load(named or OFFLINE),
            point,
            sealing.epsilon,
            tokens=sealing.tokens,
            steps=sealing.steps,
            layers=sealing.layers,
            loaded_as=named or OFFLINE,
        )


def _sealing(candidate: Candidate, sealing: Sealing) -> Operating:
    points = operating_points(candidate)
    if not sealing.at:
        if candidate.constants.get("VERIFIED") is True:
            return verified(sealing.epsilon, sealing.delta)
        raise BadInput(
            "The program does not declare VERIFIED = True, so it cannot be asked for an epsilon and a delta: name the "
            f"operating point to certify, --at '{points[2].label}' or another of its budgets."
        )
    found = [point for point in points if point.label == sealing.at]
    if not found:
        raise UnknownName("operating point", sealing.at, [point.label for point in points])
    return found[0]


def _build_cost(answered: Session, cases: Sequence[Case]) -> dict[str, float]:
    """Wall seconds of one build, and their ratio to dense causal attention over the same prompt on this machine.

    Attention is only a part of a prefill, so the ratio overstates the share of a prefill. Both are wall times with
    transfers: approximate, reported, never an objective.
    """
    if not answered.build_s:
        return {"build_s": 0.0, "build_to_prompt_attention": 0.0}
    ratios = []
    for (place, layer), seconds in answered.build_s.items():
        document = cases[place].document
        queries = document.layers[layer].queries
        ratios.append(seconds / _attention_s(queries.shape[0] * queries.shape[1], queries.shape[3], document.prompt))
    return {
        "build_s": float(np.mean(list(answered.build_s.values()))),
        "build_to_prompt_attention": float(np.median(ratios)),
    }


@functools.lru_cache(maxsize=32)
def _attention_s(heads: int, dim: int, tokens: int) -> float:
    """Wall seconds of dense causal attention over a prompt, scaled up from at most 512 tokens."""
    import torch

    size = min(tokens, 512)
    drawn = torch.zeros(heads, size, dim)
    attend = torch.nn.functional.scaled_dot_product_attention
    attend(drawn, drawn, drawn, is_causal=True)
    started = time.perf_counter()
    attend(drawn, drawn, drawn, is_causal=True)
    return (time.perf_counter() - started) * (tokens / size) ** 2


problem = SparseDecode()

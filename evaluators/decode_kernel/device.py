"""A candidate's kernels on a GPU: what the compiler is told, and a case of the size at which time is measured.

This part is used by `evaluators/latency/decode_kernel.py`, and through it by `benchmarks/decode_kernel.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vevolve.evaluators.decode_kernel.program import SCALE, Launch, Number, Program
from vevolve.types import Candidate

LAUNCHER = Candidate(Path(__file__).with_name("device_launcher.py").read_text(encoding="utf-8"))
"""Loads machine code, launches it, and reads the device's events, in a sandboxed process with one GPU."""
MAX_PROGRAMS = 1 << 20
MAX_SCRATCH = 1 << 27
TYPES = {
    "query": "*fp16",
    "keys": "*fp16",
    "values": "*fp16",
    "out": "*fp16",
    "ids": "*i32",
    "log_prob": "*fp32",
    SCALE: "fp32",
}
POINTERS = {"float32": "*fp32", "float16": "*fp16"}


@dataclass(frozen=True)
class Job:
    """One kernel, as the compiler and the launcher are told of it.

    Attributes:
        kernel: its name.
        grid: programs along each axis.
        signature: type of each argument, as Triton names them.
        constants: values of those that are "constexpr".
        aligned: pointers, all of which start at multiples of 16 bytes.
        options: `num_warps` and `num_stages`.
        arguments: what is passed at run time, in order: a buffer's name, or "i32" or "fp32" and a number.
    """

    kernel: str
    grid: tuple[int, int, int]
    signature: Mapping[str, str]
    constants: Mapping[str, Number]
    aligned: tuple[str, ...]
    options: Mapping[str, int]
    arguments: tuple[tuple[str, str | Number], ...]


def jobs(program: Program, sizes: Mapping[str, int], scale: float) -> list[Job]:
    """Every launch of a program at some sizes. Raises `CandidateFault` for a grid that is too large."""
    known: dict[str, Number] = {**program.constants, **sizes, SCALE: scale}
    return [_job(program, launch, known) for launch in program.launches]


def _job(program: Program, launch: Launch, known: Mapping[str, Number]) -> Job:
    scratch = {name: POINTERS[kind] for name, (kind, _) in program.scratch.items()}
    asked = program.arguments[launch.kernel]
    signature = {
        name: "constexpr" if constant else {**TYPES, **scratch}.get(name) or _kind(known[name])
        for name, constant in asked.items()
    }
    passed = [(name, kind) for name, kind in signature.items() if kind != "constexpr"]
    return Job(
        kernel=launch.kernel,
        grid=launch.shape(known, MAX_PROGRAMS),
        signature=signature,
        constants={name: known[name] for name, constant in asked.items() if constant},
        aligned=tuple(name for name, kind in passed if kind.startswith("*")),
        options=dict(launch.options),
        arguments=tuple(("buffer", name) if kind.startswith("*") else (kind, known[name]) for name, kind in passed),
    )


def _kind(value: Number) -> str:
    """Triton's name of the type of a number that is passed at run time."""
    if isinstance(value, bool):
        return "i1"
    return "i32" if isinstance(value, int) else "fp32"

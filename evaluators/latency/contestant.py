"""A candidate of `sparse_decode` in a process with the device: opened, asked, and each of its answers verified.

Of every answer the selection is checked against the rules, and the output against the attention in float64 over that
selection, here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.latency import twin
from vevolve.evaluators.latency.cache import Cache, Question
from vevolve.evaluators.latency.device import Container
from vevolve.evaluators.latency.twin import Step
from vevolve.evaluators.sparse_decode.meter import Index
from vevolve.evaluators.sparse_decode.session import MAX_BYTES, MAX_TENSORS, indexed, parameters
from vevolve.evaluators.sparse_decode.workload import Operating, operating_points
from vevolve.types import Arrays, Candidate, CandidateFault, Frame, Json, Process, Resident, Seed

PROGRAM = Path(__file__).with_name("resident.py").read_text(encoding="utf-8")
TOLERANCE = 1e-3
"""Relative error of an output against the attention over its own selection: float32 makes about 1e-6."""
FORM_WORDS = 4096


@dataclass
class Contestant:
    """A candidate at one operating point, with its cache and its index on the device.

    Attributes:
        fault: what kept it from being timed.
        mode: how its calls are launched.
        indices: by layer, as they are charged.
        asked: its questions, by number.
        steps: what it answered to them, by layer.
    """

    cache: Cache
    program: Candidate
    label: str
    fault: str = ""
    mode: str = ""
    indices: list[Index] = field(default_factory=list[Index])
    asked: dict[int, Question] = field(default_factory=dict[int, Question])
    steps: dict[int, list[Step]] = field(default_factory=dict[int, "list[Step]"])
    point: Operating = field(default_factory=lambda: Operating(""))
    params: Resident = field(default_factory=lambda: Resident({}))
    _process: Process | None = None

    def open(self, device: Container, key: Seed) -> None:
        """Build its index and see how it can be launched, in one process; make another ready to be timed."""
        try:
            points = {point.label: point for point in operating_points(self.program)}
            if self.label not in points:
                raise CandidateFault("interface", f"it has no operating point '{self.label}'")
            self.point = points[self.label]
            self.params = Resident(parameters(self.program))
            subject = device.subject(Candidate(PROGRAM))
            with subject.fresh() as process:
                self._begin(process)
                self.indices = [self._built(process, layer, key) for layer in range(len(self.cache.layers))]
                refusal = self._hold(process)
            self._process = subject.fresh()
            self._begin(self._process)
            if self._hold(self._process, record=not refusal):
                raise CandidateFault("unstable", "a call was recorded in a CUDA graph once and could not be again")
            self.mode = f"eager: {refusal}" if refusal else "CUDA graph"
        except CandidateFault as fault:
            self.fault = f"{fault.status}: {fault.feedback}"[:1000]

    def __call__(self, question: Question) -> Reply:
        """One timed call."""
        self.asked[question.number] = question
        if self._process is None:
            raise CandidateFault("crash", "it was never opened")
        frame: Frame = self._process.call(
            "step", question.queries, list(question.seeds), returns=Arrays(max_count=2, max_bytes=MAX_BYTES)
        )
        return Reply(self, frame)

    def verify(self, question: Question, frame: Frame) -> str:
        """What is wrong with an answer, or ""; keeps what is right."""
        try:
            layers = unpacked(frame, len(self.cache.layers))
            steps = [self._step(question, layer, found) for layer, found in enumerate(layers)]
        except CandidateFault as fault:
            return fault.feedback
        self.steps[question.number] = steps
        return ""

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.__exit__(None, None, None)
            self._process = None

    def _step(self, question: Question, layer: int, found: Sequence[NDArray[Any]]) -> Step:
        ids, prob, *tail, out = found
        names: dict[str, NDArray[Any]] = dict(zip(("0", "1", "2.0", "2.1"), (ids, prob, *tail), strict=False))
        step = twin.judged(self.cache, question, layer, names, self.point)
        right = twin.output(self.cache, question, layer, step.answer)
        if out.shape != right.shape:
            raise CandidateFault("wrong", f"an output of shape {out.shape}, expected {right.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            off = np.linalg.norm(out - right, axis=-1) / np.maximum(np.linalg.norm(right, axis=-1), 1e-30)
        if not off.max() <= TOLERANCE:  # what is no number is wrong too
            raise CandidateFault(
                "wrong",
                f"layer {layer}: the output is {off.max():.2e} off the attention over its own selection, at "
                f"most {TOLERANCE:.0e}",
            )
        return step

    def _begin(self, process: Process) -> None:
        budget = self.point
        given = (self.program.source, self.params.value, len(self.cache.layers))
        process.call("begin", *given, budget.tokens, budget.epsilon, budget.delta, returns=Json())
        for layer, held in enumerate(self.cache.layers):
            for start in range(0, len(held.keys), self.cache.sizes.heads):
                part = slice(start, start + self.cache.sizes.heads)
                process.call("keep", layer, held.keys[part], held.values[part], returns=Json())

    def _built(self, process: Process, layer: int, key: Seed) -> Index:
        if "build" not in self.program.functions:
            return Index()
        queries = self.cache.layers[layer].queries
        recent = np.ascontiguousarray(queries[:, :, : -(self.cache.sizes.tokens - self.cache.prompt)])
        frame = process.call(
            "build",
            layer,
            self.cache.prompt,
            recent,
            key.derive(layer),
            returns=Arrays(max_count=MAX_TENSORS, max_bytes=MAX_BYTES),
        )
        return indexed(frame, "build")

    def _hold(self, process: Process, record: bool = True) -> str:
        """Give a process the index that is charged. Returns "" where calls are recorded, or why they are not."""
        for layer, index in enumerate(self.indices):
            process.call("hold", layer, dict(index.tensors), returns=Json())
        if not record:
            return ""
        return str(process.call("capture", self.cache.question(-2).queries, returns=Json()))


@dataclass(frozen=True, eq=False)
class Reply:
    """What came back, and from whom."""

    of: Contestant
    frame: Frame


def unpacked(frame: Frame, layers: int) -> list[list[NDArray[Any]]]:
    """Of each layer ids, prob, maybe the tail's two arrays, and the output. Raises `CandidateFault`."""
    if set(frame) != {"bytes", "form"} or frame["bytes"].dtype != np.uint8 or frame["form"].size > FORM_WORDS:
        raise CandidateFault("protocol", "an answer of another form")
    words = iter(int(word) for word in frame["form"].ravel())
    flat, at = frame["bytes"].ravel(), 0
    found: list[list[NDArray[Any]]] = []
    try:
        for _ in range(layers):
            count = next(words)
            if count not in (3, 5):
                raise CandidateFault("wrong", "select must return (ids, prob) or (ids, prob, (log_weights, values))")
            arrays: list[NDArray[Any]] = []
            for place in range(count):
                shape = tuple(next(words) for _ in range(next(words)))
                size = 4 * int(np.prod(shape, dtype=np.int64))
                if min(shape, default=0) < 0 or not 0 <= size <= flat.size - at:
                    raise ValueError("fewer bytes than its shapes need")
                part = flat[at : at + size].view(np.float32 if place else np.int32)
                arrays.append(part.reshape(shape))
                at += size
            found.append(arrays)
    except (StopIteration, ValueError, OverflowError, TypeError, RuntimeError) as error:
        raise CandidateFault("protocol", f"an answer of another form: {error}") from error
    return found

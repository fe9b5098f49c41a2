"""Asking a candidate: build once, append every 64 generated tokens, select every step twice in fresh processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from vevolve.evaluators.programs import MAX_PARAMS
from vevolve.evaluators.sparse_decode.answer import check
from vevolve.evaluators.sparse_decode.attention import Deviation, deviation, reference
from vevolve.evaluators.sparse_decode.meter import MAX_ROUNDS, Index, Meter, Traffic
from vevolve.evaluators.sparse_decode.workload import Case, Operating, Question, questions
from vevolve.types import Arrays, Candidate, CandidateFault, Frame, Process, Resident, Seed, Subject

APPEND_EVERY = 64
"""Generated tokens between two calls of `append`."""
MAX_TENSORS = 64
"""Tensors of an index."""
ALONE = 2
"""Further processes that are asked one question of each document and layer."""
MAX_BYTES = 64 << 20
"""Bytes of an index, and of an answer."""


@dataclass(frozen=True)
class Outcome:
    """What one question gave.

    Attributes:
        question: which step it was.
        deviation: from dense attention.
        attended: distinct tokens by KV head, [H].
        traffic: bytes of the step.
        rounds: dependent read rounds.
        chained: the same, if each whole index tensor waited for the one before it.
        named: the whole index tensors that were read, in order.
    """

    question: Question
    deviation: Deviation
    attended: NDArray[np.int64]
    traffic: Traffic
    rounds: int
    chained: int
    named: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """Everything a candidate answered on a workload.

    Attributes:
        outcomes: in the order of `questions`.
        indices: by (case, layer, times appended).
        build_s: wall seconds of each build, by (case, layer), transfers included.
    """

    outcomes: tuple[Outcome, ...]
    indices: Mapping[tuple[int, int, int], Index]
    build_s: Mapping[tuple[int, int], float]


def run(
    subject: Subject, cases: Sequence[Case], points: Sequence[Operating], seed: Seed, alone: int = ALONE
) -> Session:
    """Ask every question of a workload.

    Two passes of `select` mix all documents, layers, points and steps in independent random orders, so that what a
    process remembers differs between them. A cheat may still bet that the same step of one document and layer comes
    first in both; so `alone` further processes are asked one random question of each document and layer, where nothing
    of it can be remembered.

    Candidates declared `REFERENCE = True`, which are lines on plots and never stand on a front, are not held to the
    token budgets: dense attention could not be.

    Raises:
        CandidateFault: what the candidate did wrong, with the place where it showed.
    """
    params = Resident(parameters(subject.candidate))
    capped = subject.candidate.constants.get("REFERENCE") is not True
    indices, build_s = _build(subject, cases, seed, params)
    _append(subject, cases, indices, params)
    asked = list(questions(cases, points))
    first: dict[Question, tuple[bytes, bytes]] = {}
    outcomes: dict[Question, Outcome] = {}
    for question, frame, meter in _select(subject, cases, _shuffled(asked, subject, seed, 0), indices, seed, params):
        outcomes[question] = _outcome(question, cases[question.case], frame, meter, capped)
        first[question] = meter.digest, digest(frame)
    for turn in range(1, 2 + alone):
        order = _shuffled(asked, subject, seed, turn)
        if turn > 1:
            order = list({(question.case, question.layer): question for question in order}.values())
        for question, frame, meter in _select(subject, cases, order, indices, seed, params):
            _compare(question, cases[question.case], first[question], (meter.digest, digest(frame)))
    return Session(tuple(_counted([outcomes[question] for question in asked], cases)), indices, build_s)


def parameters(candidate: Candidate) -> dict[str, NDArray[Any]]:
    """The arrays of a candidate's parameter file, parsed here; {} without one.

    Raises:
        CandidateFault: it is too large or no safetensors file.
    """
    if candidate.params is None:
        return {}
    if len(candidate.params) > MAX_PARAMS:
        raise CandidateFault("interface", f"params hold {len(candidate.params)} bytes; at most {MAX_PARAMS} are taken")
    try:
        return load(candidate.params)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CandidateFault("interface", f"params are no safetensors file that numpy can hold: {error}") from error


# ----------------------------------------------------------------------------------------------- build and append


def _build(
    subject: Subject, cases: Sequence[Case], seed: Seed, params: Resident
) -> tuple[dict[tuple[int, int, int], Index], dict[tuple[int, int], float]]:
    keys = [(place, layer) for place, case in enumerate(cases) for layer in case.document.layers]
    if "build" not in subject.candidate.functions:
        return {(*key, 0): Index() for key in keys}, {}
    indices: dict[tuple[int, int, int], Index] = {}
    seconds: dict[tuple[int, int], float] = {}
    growth: dict[str, dict[str, float]] = {}
    with subject.fresh() as process:
        for place, layer in keys:
            case = cases[place]
            started = time.perf_counter()
            index = _built(process, case, layer, case.document.prompt, seed, params)
            seconds[place, layer] = time.perf_counter() - started
            if case.family not in growth and index.tensors:
                half = _built(process, case, layer, max(case.document.prompt // 2, 1), seed, params)
                growth[case.family] = _growth(index, half, case.document.prompt)
            indices[place, layer, 0] = replace(index, growth=growth.get(case.family, {}))
    return indices, seconds


def _built(process: Process, case: Case, layer: int, prompt: int, seed: Seed, params: Resident) -> Index:
    """The index of the first `prompt` tokens; the queries are the last ones that were recorded of these."""
    document = case.document
    recorded = document.layers[layer]
    last = max(recorded.queries.shape[2] - document.tokens + prompt, 0)
    try:
        frame = process.call(
            "build",
            keys=np.ascontiguousarray(recorded.keys[:, :prompt]),
            values=np.ascontiguousarray(recorded.values[:, :prompt]),
            queries=np.ascontiguousarray(recorded.queries[:, :, :last]),
            layer=layer,
            params=params,
            rng=seed.derive("build", document.hash, layer, prompt),
            returns=Arrays(max_count=MAX_TENSORS, max_bytes=MAX_BYTES),
        )
        return indexed(frame, "build")
    except CandidateFault as fault:
        _located(fault, f"document {document.name}, layer {layer}, build on {prompt} tokens")


def _append(
    subject: Subject,
    cases: Sequence[Case],
    indices: dict[tuple[int, int, int], Index],
    params: Resident,
) -> None:
    """Fold each 64 generated tokens that stand complete before a step into the index of that step."""
    rounds = [(case.document.steps - 1) // APPEND_EVERY for case in cases]
    if "append" not in subject.candidate.functions or not any(rounds):
        for place, layer, _ in list(indices):
            indices.update({(place, layer, fold): indices[place, layer, 0] for fold in range(1, rounds[place] + 1)})
        return
    with subject.fresh() as process:
        for place, layer, _ in list(indices):
            document = cases[place].document
            for fold in range(1, rounds[place] + 1):
                before = indices[place, layer, fold - 1]
                stop = document.prompt + fold * APPEND_EVERY
                new = slice(stop - APPEND_EVERY, stop)
                try:
                    frame = process.call(
                        "append",
                        index=dict(before.tensors),
                        keys=np.ascontiguousarray(document.layers[layer].keys[:, new]),
                        values=np.ascontiguousarray(document.layers[layer].values[:, new]),
                        layer=layer,
                        params=params,
                        returns=Arrays(max_count=MAX_TENSORS, max_bytes=MAX_BYTES),
                    )
                    after = indexed(frame, "append")
                except CandidateFault as fault:
                    _located(fault, f"document {document.name}, layer {layer}, append of {fold * APPEND_EVERY} tokens")
                indices[place, layer, fold] = replace(after, growth=before.growth)


def indexed(frame: Frame, function: str) -> Index:
    """The index that `build` or `append` returned, with the bytes of its headers."""
    empty = [name for name, tensor in frame.items() if tensor.size == 0 or tensor.ndim == 0]
    if empty:
        raise CandidateFault(
            "wrong",
            f"{function} returned an index whose tensor '{empty[0][:40]}' is empty or a scalar; leave it out",
        )
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in frame.items()}
    payload = sum(tensor.nbytes for tensor in tensors.values())
    return Index(tensors, max(frame.wire_bytes - payload, 0))


def _growth(full: Index, half: Index, prompt: int) -> dict[str, float]:
    """By tensor, the share of its bytes that is proportional to the prompt, from builds on all and half of it."""
    shares: dict[str, float] = {}
    for name, tensor in full.tensors.items():
        shorter = half.tensors[name].nbytes if name in half.tensors else 0
        slope = (tensor.nbytes - shorter) / max(prompt - prompt // 2, 1)
        shares[name] = min(max(slope * prompt / tensor.nbytes, 0.0), 1.0)
    return shares


# --------------------------------------------------------------------------------------------------------- select


def _shuffled(asked: Sequence[Question], subject: Subject, seed: Seed, turn: int) -> list[Question]:
    """All questions in the random order of one process.

    The order depends on the program too: no lineage of programs can learn, from verdict to verdict, which steps come
    after which.
    """
    draw = np.random.default_rng(seed.derive("order", subject.candidate.id, turn).integer)
    return [asked[place] for place in draw.permutation(len(asked))]


def _select(
    subject: Subject,
    cases: Sequence[Case],
    order: Sequence[Question],
    indices: Mapping[tuple[int, int, int], Index],
    seed: Seed,
    params: Resident,
) -> Iterator[tuple[Question, Frame, Meter]]:
    """Ask questions in this order in one fresh process."""
    with subject.fresh() as process:
        for question in order:
            document = cases[question.case].document
            layer = document.layers[question.layer]
            n = document.prompt + question.step + 1
            index = indices[question.case, question.layer, question.step // APPEND_EVERY]
            meter = Meter(layer.keys, layer.values, index, n)
            try:
                frame = process.call(
                    "select",
                    query=np.ascontiguousarray(layer.queries[:, :, question.step - document.steps]),
                    budget=question.point.budget,
                    layer=question.layer,
                    params=params,
                    rng=seed.derive("select", document.hash, question.layer, question.point.label, question.step),
                    serve=meter.services(),
                    returns=Arrays(max_count=4, max_bytes=MAX_BYTES),
                )
            except CandidateFault as fault:
                _located(fault, _place(question, document.name))
            yield question, frame, meter


def _outcome(question: Question, case: Case, frame: Frame, meter: Meter, capped: bool) -> Outcome:
    heads, group, _, dim = case.document.layers[question.layer].queries.shape
    try:
        answer = check(frame, heads, group, dim, meter.n, question.point.tokens if capped else None)
    except CandidateFault as fault:
        _located(fault, _place(question, case.document.name))
    return Outcome(
        question=question,
        deviation=deviation(answer, reference(case.document, question.layer), question.step),
        attended=np.count_nonzero(answer.chosen, axis=1),
        traffic=meter.account(answer.chosen, answer.tail_elements),
        rounds=meter.rounds,
        chained=meter.chained,
        named=meter.named,
    )


def _counted(found: Sequence[Outcome], cases: Sequence[Case]) -> Iterator[Outcome]:
    """Outcomes with the rounds that their steps took, known once all steps are.

    Whole index tensors read in a row could have been asked for together only if their names stand fixed before the
    step. Where the names differ between steps of one model, layer and operating point, a name may have been chosen by
    what the tensor before it held: then each is a round of its own.
    """

    def group(one: Outcome) -> tuple[str, int, str]:
        question = one.question
        return cases[question.case].document.model, question.layer, question.point.label

    names: dict[tuple[str, int, str], set[tuple[str, ...]]] = {}
    for one in found:
        names.setdefault(group(one), set()).add(one.named)
    for one in found:
        rounds = one.rounds if len(names[group(one)]) == 1 else one.chained
        if rounds > MAX_ROUNDS:
            fault = CandidateFault(
                "wrong",
                f"{rounds} dependent read rounds in one step, of which {MAX_ROUNDS} are allowed: which whole tensors "
                "of the index are read differs from step to step, so each of them counts as a round",
            )
            _located(fault, _place(one.question, cases[one.question.case].document.name))
        yield replace(one, rounds=rounds)


def digest(frame: Frame) -> bytes:
    """Stands for the exact bytes of an answer."""
    digest = hashlib.blake2b(digest_size=16)
    for path, array in frame.items():
        digest.update(f"{path} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.digest()


def _compare(question: Question, case: Case, first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> None:
    """Every fresh process must have read and answered the same, bit for bit."""
    if first != second:
        what = "other reads" if first[0] != second[0] else "another answer"
        fault = CandidateFault(
            "unstable",
            f"depends on earlier steps: asked again in a fresh process and another order, it gave {what}. "
            "select must be a function of its arguments: keep nothing between calls, and draw only from rng",
        )
        _located(fault, _place(question, case.document.name))


def _place(question: Question, name: str) -> str:
    return f"document {name}, layer {question.layer}, {question.point.label}, step {question.step}"


def _located(fault: CandidateFault, place: str) -> NoReturn:
    raise CandidateFault(fault.status, f"{fault.feedback} ({place})") from fault

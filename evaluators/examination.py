"""Examine a candidate: interface, then the stages of the cascade; every fault of the candidate becomes a verdict."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import cast

from vevolve.errors import BadProblem
from vevolve.evaluators.alarm import notice
from vevolve.evaluators.blame import blamed
from vevolve.evaluators.contract import Problem, Stage, Workload
from vevolve.types import Candidate, CandidateFault, Cost, Seed, Subject, Verdict


def examine(problem: Problem, subject: Subject, seed: Seed, *, promotion: bool = False) -> Verdict:
    """Walk the cascade: the stages of the search, or those that decide promotion.

    The verdict is that of the last stage reached, with the cost of all of them. Points of an earlier stage are kept
    only where that stage is the last.

    Raises:
        BadProblem: the problem's own code failed; the message names the place.
    """
    stages = [stage for stage in problem.stages if stage.promotion == promotion]
    with blamed(problem.name, problem.folder):
        workloads = [(stage, problem.workload(stage, seed.derive(stage.name))) for stage in stages]
    return _walk(problem, subject, workloads)


def examine_workload(problem: Problem, subject: Subject, workload: Workload) -> Verdict:
    """Examine on one given workload, such as a user's own files."""
    return _walk(problem, subject, [(workload.stage, workload)])


def check_interface(problem: Problem, candidate: Candidate) -> None:
    """Raise `CandidateFault` where the program does not parse or does not offer what the problem calls."""
    for function in problem.functions:
        signature = candidate.functions.get(function.name)
        if signature is None:
            if function.required:
                raise CandidateFault("interface", f"the program must define `def {function.name}(...)` at top level")
            continue
        if function.positional:
            continue
        for name in signature.required:
            if name not in function.arguments:
                known = ", ".join(function.arguments)
                raise CandidateFault("interface", f"`{function.name}` asks for '{name}', which is none of: {known}")


def _walk(problem: Problem, subject: Subject, stages: Sequence[tuple[Stage, Workload]]) -> Verdict:
    started, cpu = time.monotonic(), time.process_time()
    name, verdict = "interface", problem.invalid("no stage was run")
    hashed = [problem.hash, *(workload.inputs for _, workload in stages if workload.inputs)]
    standing = problem.hash if len(hashed) == 1 else hashlib.sha256("\0".join(hashed).encode()).hexdigest()
    try:
        check_interface(problem, subject.candidate)
        for stage, workload in stages:
            name = stage.name
            verdict = _examined(problem, subject, workload)
            if not verdict.valid:
                break
    except CandidateFault as fault:
        verdict = problem.invalid(fault.feedback, fault.status)
    cost = Cost(
        wall_s=time.monotonic() - started,
        cpu_s=time.process_time() - cpu + subject.cpu_s,
        processes=subject.processes,
    )
    feedback = "\n\n".join(filter(None, (verdict.feedback, _alarm(problem, subject.candidate))))
    held = subject.containment
    return verdict.model_copy(
        update={"stage": name, "cost": cost, "containment": held, "feedback": feedback, "problem": standing}
    )


def _examined(problem: Problem, subject: Subject, workload: Workload) -> Verdict:
    """One stage. Raises `BadProblem` where the problem itself fails, or returns what is no verdict."""
    with blamed(problem.name, problem.folder):
        verdict = cast(object, problem.examine(subject, workload))  # whatever it says that it returns
        if not isinstance(verdict, Verdict):
            code = type(problem).examine.__code__
            raise BadProblem(
                f"{code.co_filename}:{code.co_firstlineno}: `examine` must return `self.verdict(...)` or "
                f"`self.invalid(...)`; it returned {verdict!r:.80}"
            )
        try:
            verdict.model_dump_json()
        except ValueError as error:
            raise BadProblem(f"a verdict's report must hold plain JSON values with string keys: {error}") from error
        return verdict


def _alarm(problem: Problem, candidate: Candidate) -> str:
    """What looks hostile in the program. Said with any verdict, and never the reason for one."""
    try:
        return notice(candidate.tree, problem.modules)
    except CandidateFault:
        return ""

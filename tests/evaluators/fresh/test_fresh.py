"""Fresh documents of a problem that draws its own: what cannot be compared is the problem's fault, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vevolve.errors import BadProblem
from vevolve.evaluators.circle_packing.problem import problem as circle_packing
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.fresh import COST, STAGE, Fresh, cost, drawn, examine_fresh, meet
from vevolve.evaluators.testing import PlainSubject, check
from vevolve.types import Candidate, Seed, Verdict

SOUND = '''
import numpy as np
from vevolve import Array, Function, Objective, Point, Problem, Stage, Workload
from vevolve.evaluators.fresh import STAGE

class Near(Problem):
    """Guess numbers: `guess` is told the numbers and returns them."""

    name = "near"
    objectives = (Objective("error", "min", worst=1.0, unit="mean distance"),)
    functions = (Function(name="guess", arguments=("numbers",)),)

    def workload(self, stage, seed):
        return Workload(stage, seed, [np.random.default_rng(seed.integer).random(4)])

    def fresh(self, key):
        numbers = np.random.default_rng(key.integer).random(4)
        return Workload(STAGE, key, [numbers], inputs=numbers.tobytes().hex())

    def examine(self, subject, workload):
        (numbers,) = workload.cases
        answer = subject.call("guess", numbers=numbers, returns=Array("f8", (4,)))
        if not (np.abs(answer) < 10).all():
            return self.invalid("out of range")
        points = [Point(split=workload.stage.split, error=float(np.abs(answer - numbers).mean()))]
        return self.verdict(*points)

problem = Near()
'''
HONEST = Candidate("def guess(numbers):\n    return numbers + 0.1\n")
FRESH = Fresh(Seed(b"fresh documents"), 4)
WORKLOAD = "Workload(STAGE, key, [numbers], inputs=numbers.tobytes().hex())"


def near(folder: Path, old: str = "", new: str = "") -> Problem:
    assert old in SOUND
    for path, text in {"problem.py": SOUND.replace(old, new) if old else SOUND, "seeds/seed.py": HONEST.source}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return load(str(folder))


def complaint(problem: Problem) -> str:
    """What the conformance suite says of fresh documents."""
    findings = check(problem, lambda candidate: PlainSubject(candidate, problem.arrays))
    return next(finding.detail for finding in findings if finding.check.startswith("A fresh document"))


def test_a_fresh_document_has_points_of_its_own_under_a_hash_of_its_own(tmp_path: Path) -> None:
    problem = near(tmp_path)
    one, other = (examine_fresh(problem, PlainSubject(HONEST), Fresh(FRESH.key, number)) for number in (4, 5))
    assert [(point.split, point.family) for point in one.points] == [(STAGE.split, "")]
    assert len({one.problem, other.problem, problem.hash}) == 3
    assert complaint(problem) == ""


BROKEN = {
    "another family": ("split=workload.stage.split,", "split=workload.stage.split, family='mine',", "family 'mine'"),
    "another split": ("split=workload.stage.split", "split='select'", "the verdict has split select, family ''"),
    "no points": ("self.verdict(*points)", "self.verdict(*points[:workload.stage.split != 'sealed'])", "no points"),
    "another stage": (WORKLOAD, WORKLOAD.replace("STAGE", "Stage(name='mine', split='sealed')"), "returned .*'mine'"),
    "no workload": (WORKLOAD, "[numbers]", r"it returned \[array"),
    "no name": (WORKLOAD, "Workload(STAGE, key, [numbers])", "must name its document"),
    "a crash": (WORKLOAD, "None + 1", r"problem\.py:\d+: TypeError"),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN)
def test_a_fresh_document_that_could_not_be_compared_is_the_problems_fault(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    problem = near(tmp_path, old, new)
    with pytest.raises(BadProblem, match=f"Problem near is at fault.*{message}") as caught:
        examine_fresh(problem, PlainSubject(HONEST), FRESH)
    assert "\n" not in str(caught.value)
    assert complaint(problem).startswith("Problem near is at fault")


def test_a_candidate_that_fails_on_a_fresh_document_has_an_invalid_verdict(tmp_path: Path) -> None:
    lost = Candidate("def guess(numbers):\n    return numbers + 100\n")
    verdict = examine_fresh(near(tmp_path), PlainSubject(lost), FRESH)
    assert (verdict.valid, verdict.feedback) == (False, "out of range")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("default_rng(key.integer)", "default_rng()", "one key gave two different documents"),
        ("default_rng(key.integer)", "default_rng(7)", "two keys gave the same document"),
        ("Workload(STAGE, key,", "Workload(STAGE, type(key)(b'one'),", "examined with the same seed"),
        (
            "return self.verdict",
            "return self.invalid('no') if workload.inputs else self.verdict",
            "is wrong on a fresh",
        ),
        ("Point(split", "Point(label=workload.stage.name, split", "on no fresh document: ['select']"),
    ],
    ids=["chance", "one document", "one seed", "refused", "labels"],
)
def test_the_suite_notices_documents_that_do_not_follow_from_their_keys(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert said in complaint(near(tmp_path, old, new))


def test_a_problem_that_draws_no_fresh_documents_passes_the_suite_and_refuses_to_examine_on_one() -> None:
    with pytest.raises(BadProblem, match="draws no fresh documents"):
        examine_fresh(circle_packing, PlainSubject(HONEST), FRESH)
    assert complaint(circle_packing) == ""


CLAIMS = {"sparse_decode": ("quest", ("64 tokens", "256 tokens")), "kv_quantization": ("int4", ("4.75 bits",))}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_meeting_gives_the_points_of_a_full_examination_of_the_challenger_those_that_it_claims(name: str) -> None:
    problem, (seed, claims) = load(name), CLAIMS[name]
    candidate = Candidate(problem.seed(seed).read_text())
    challenger, incumbent = meet(
        problem, PlainSubject(candidate, "torch"), PlainSubject(candidate, "torch"), FRESH, claims
    )
    whole = examine_workload(problem, PlainSubject(candidate, "torch"), drawn(problem, FRESH))
    axes = [axis.name for axis in problem.objectives]

    def figures(verdict: Verdict) -> dict[str, list[float]]:
        return {point.label: [getattr(point, axis) for axis in axes] for point in verdict.points}

    assert figures(incumbent) == figures(whole)
    assert figures(challenger) == {label: figures(whole)[label] for label in claims}
    assert challenger.problem == incumbent.problem == whole.problem, "one name for one document"
    assert 0 < cost(problem) < 1


@pytest.mark.parametrize("name", CLAIMS)
def test_a_program_that_fails_at_a_meeting_has_an_invalid_verdict_and_the_other_is_examined(name: str) -> None:
    problem, (seed, claims) = load(name), CLAIMS[name]
    good, broken = (
        Candidate(problem.seed(seed).read_text() + text)
        for text in ("", "\ndef select(query): 1 / 0\nencode = select\n")
    )
    challenger, incumbent = meet(problem, PlainSubject(broken, "torch"), PlainSubject(good, "torch"), FRESH, claims)
    assert not challenger.valid and challenger.status != "ok"
    assert incumbent.valid


def test_what_a_problem_elsewhere_draws_has_a_cost_that_is_assumed(tmp_path: Path) -> None:
    assert cost(near(tmp_path)) == COST

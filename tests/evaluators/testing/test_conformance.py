"""The suite fails what is broken: each case breaks one rule of a problem that is sound otherwise."""

from pathlib import Path

import numpy as np
import pytest

from vevolve.evaluators.circle_packing.problem import problem as circle_packing
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.testing import PlainSubject, ProblemConformance, check, hypervolume
from vevolve.types import Point

SOUND = '''
import numpy as np
from vevolve import Array, Function, Objective, Point, Problem, Stage, Workload

class Near(Problem):
    """Guess numbers: `guess` is told the numbers and returns them."""

    name = "near"
    objectives = (Objective("error", "min", worst=1.0, unit="mean distance"),)
    functions = (Function(name="guess", arguments=("numbers",)),)

    def workload(self, stage, seed):
        return Workload(stage, seed, [np.random.default_rng(seed.integer).random(4)])

    def examine(self, subject, workload):
        (numbers,) = workload.cases
        answer = subject.call("guess", numbers=numbers, returns=Array("f8", (4,)))
        if not (np.abs(answer) < 10).all():
            return self.invalid("out of range")
        error = float(np.abs(answer - numbers).mean())
        return self.verdict(Point(split=workload.stage.split, error=error))

problem = Near()
'''
HONEST = "def guess(numbers):\n    return numbers + 0.1\n"
CHEAT = "import numpy as np\ndef guess(numbers):\n    return np.full(4, np.nan)\n"


def near(folder: Path, problem: str = SOUND, seed: str = HONEST, cheat: str = CHEAT) -> Problem:
    for path, text in {"problem.py": problem, "seeds/seed.py": seed, "cheats/one.py": cheat}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return load(str(folder))


def complaints(problem: Problem) -> str:
    """All that the suite has to say against a problem."""
    findings = check(problem, lambda candidate: PlainSubject(candidate, problem.arrays))
    return "\n".join(f"{finding.check} {finding.detail}" for finding in findings if not finding.passed)


def test_the_sound_problem_passes(tmp_path: Path) -> None:
    assert complaints(near(tmp_path)) == ""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("not (np.abs(answer) < 10).all()", "(np.abs(answer) > 1e400).any()", "(a candidate's fault must become"),
        ("not (np.abs(answer) < 10).all()", "False", "not an exception"),
        ("float(np.abs(answer - numbers).mean())", "0.5", "answers made negative are worth 0.5"),
        ("default_rng(seed.integer)", "default_rng()", "two different workloads for one seed"),
        (', unit="mean distance"', "", "`error` has no unit"),
        ("error=error", "mistake=error", "holds no error"),
        ("split=workload.stage.split, ", "", "says split search, the stage says select"),
        ('(Function(name="guess", arguments=("numbers",)),)', "()", "declares no `functions`"),
        ('arguments=("numbers",)', 'arguments=("number",)', "seed `seed` is interface"),
        ("`guess` is told the numbers and returns them.", "be right.", "names the function `guess`"),
        ('"""Guess numbers: `guess` is told the numbers and returns them."""', "", "has no docstring"),
        ("error=error)", "error=error), report={'steps': (1, 2)}", "changed; its report must hold plain JSON"),
        ('name = "near"', 'name = "near by"', "is no identifier"),
        ('arguments=("numbers",)', 'arguments=("numbers",), required=False', "requires no function"),
    ],
)
def test_a_broken_problem_fails_and_is_told_why(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in SOUND
    assert complaint in complaints(near(tmp_path, SOUND.replace(old, new)))


def test_a_problem_that_believes_not_a_number_fails_on_its_cheat(tmp_path: Path) -> None:
    believing = SOUND.replace("if not (np.abs(answer) < 10).all()", "if (np.abs(answer - numbers) > 10).any()").replace(
        "float(np.abs(answer - numbers).mean())", "max(0.0, float(np.abs(answer - numbers).mean()))"
    )
    found = complaints(near(tmp_path, believing))
    assert "answers made not a number are worth 1, the honest ones 0.9" in found
    assert "cheat `one` is worth 1, the honest seed 0.9" in found


def test_a_cheat_that_wins_is_named(tmp_path: Path) -> None:
    winning = "def guess(numbers):\n    return numbers\n"
    assert "cheat `one` is worth 1, the honest seed 0.9" in complaints(near(tmp_path, cheat=winning))


def test_a_problem_without_cheats_fails(tmp_path: Path) -> None:
    problem = near(tmp_path)
    (tmp_path / "cheats/one.py").unlink()
    assert "it has no cheats/" in complaints(problem)


def test_an_invalid_seed_fails_and_its_feedback_is_shown(tmp_path: Path) -> None:
    found = complaints(near(tmp_path, seed="def guess(numbers):\n    return numbers + 100\n"))
    assert "seed `seed` is wrong in `search`: out of range" in found


def test_the_pytest_class_fails_where_check_does(tmp_path: Path) -> None:
    broken = near(tmp_path, cheat="def guess(numbers):\n    return numbers\n")

    class Conformance(ProblemConformance):
        problem = broken

    Conformance().test_it_accepts_its_seed()
    with pytest.raises(AssertionError, match="cheat `one`"):
        Conformance().test_it_rejects_its_cheats()


def test_the_pytest_class_has_a_test_for_every_check() -> None:
    from vevolve.evaluators.testing import CHECKS

    tests = [name for name in vars(ProblemConformance) if name.startswith("test_")]
    documented = {str(getattr(ProblemConformance, name).__doc__) for name in tests}
    assert documented == {f"See `{one.__name__}`." for one in CHECKS}


def test_hypervolume_of_one_objective_is_the_distance_from_its_worst_value() -> None:
    points = [Point(sum_radii=1.5), Point(sum_radii=2.5), Point(sum_radii=9.0, family="another")]
    assert hypervolume(circle_packing, points) == pytest.approx(2.5)
    assert hypervolume(circle_packing, []) == 0.0


def test_hypervolume_of_two_objectives_is_the_area_of_the_union(tmp_path: Path) -> None:
    two = SOUND.replace(
        "(Objective(", '(Objective("cost", "min", worst=100.0, unit="bytes", scale="log10"), Objective('
    )
    points = [Point(cost=1.0, error=0.5), Point(cost=10.0, error=0.25)]
    # On log10 of cost: a rectangle of 2 by .5, and of 1 by .75, which share 1 by .5.
    assert hypervolume(near(tmp_path, two), points) == pytest.approx(np.float64(1.0 + 0.75 - 0.5))

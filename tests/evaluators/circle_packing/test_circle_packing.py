import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vevolve.evaluators.circle_packing.problem import CIRCLES, problem, sum_radii, worst_overlap
from vevolve.evaluators.contract import Workload
from vevolve.evaluators.testing import PlainSubject, ProblemConformance
from vevolve.types import Candidate, Seed


class TestConformance(ProblemConformance):
    problem = problem


def verdict_on(circles: np.ndarray):
    source = f"import numpy as np\ndef pack(n):\n    return np.array({circles.tolist()!r})\n"
    return problem.examine(PlainSubject(Candidate(source)), Workload(problem.stage("search"), Seed(b"circles")))


def apart() -> np.ndarray:
    """Small circles on a 6 by 6 grid that touch nothing."""
    spots = np.arange(CIRCLES)
    return np.column_stack([(spots % 6 + 0.5) / 6, (spots // 6 + 0.5) / 6, np.full(CIRCLES, 0.05)])


def test_the_grid_seed_scores_26_twelfths() -> None:
    verdict = problem.examine(
        PlainSubject(Candidate(problem.seed("grid").read_text())), Workload(problem.stage("search"), Seed(b"grid"))
    )
    assert verdict.points[0]["sum_radii"] == pytest.approx(26 / 12, abs=1e-12)


def test_circles_that_touch_nothing_score_their_exact_sum() -> None:
    assert verdict_on(apart()).points[0]["sum_radii"] == pytest.approx(26 * 0.05, abs=1e-12)


@pytest.mark.parametrize("depth", [2e-9, 1e-3])
def test_an_overlap_beyond_rounding_is_invalid_and_its_depth_is_told(depth: float) -> None:
    circles = apart()
    circles[1, 0] = circles[0, 0] + 0.1 - depth
    verdict = verdict_on(circles)
    assert not verdict.valid
    assert f"{depth:.2e}" in verdict.feedback


def test_an_excused_overlap_is_taken_off_every_radius() -> None:
    circles = apart()
    circles[1, 0] = circles[0, 0] + 0.1 - 5e-10
    verdict = verdict_on(circles)
    assert verdict.valid
    assert verdict.points[0]["sum_radii"] == pytest.approx(26 * (0.05 - 5e-10), abs=1e-12)


def test_a_circle_that_leaves_the_square_is_invalid() -> None:
    circles = apart()
    circles[0, :2] = 0.049
    assert "leave the square by 1.00e-03" in verdict_on(circles).feedback


@given(st.integers(0, 2**32 - 1))
def test_after_shrinking_by_the_measured_overlap_no_overlap_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    circles = np.column_stack([rng.random((8, 2)), 0.3 * rng.random(8)])
    overlap = worst_overlap(circles)
    shrunk = circles.copy()
    shrunk[:, 2] -= overlap
    naive = [np.hypot(*(a[:2] - b[:2])) - a[2] - b[2] for i, a in enumerate(shrunk) for b in shrunk[:i]] + [
        min(x, 1 - x, y, 1 - y) - radius for x, y, radius in shrunk
    ]
    assert min(naive) >= -1e-12
    assert sum_radii(circles, overlap) >= shrunk[:, 2].sum()


def test_published_sums_are_above_the_seed_and_below_the_bound_by_area() -> None:
    bound = np.sqrt(CIRCLES / np.pi)
    assert all(26 / 12 < figure.values["sum_radii"] < bound for figure in problem.published)

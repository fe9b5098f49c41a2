"""What a problem's author tests with: the conformance suite, and a subject that needs no sandbox.

    from vevolve.evaluators.testing import ProblemConformance

    class TestMyProblem(ProblemConformance):
        problem = my_problem

`vevolve check problem PATH` runs the same suite with every program in the sandbox.
"""

from vevolve.evaluators.testing.conformance import CHECKS, Finding, ProblemConformance, check, hypervolume
from vevolve.evaluators.testing.corruption import CORRUPTIONS, Corrupted
from vevolve.evaluators.testing.plain import PlainSubject

__all__ = [
    "CHECKS",
    "CORRUPTIONS",
    "Corrupted",
    "Finding",
    "PlainSubject",
    "ProblemConformance",
    "check",
    "hypervolume",
]

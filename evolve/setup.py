"""From settings to what a run needs: the problem, the seed program, the programs to borrow from, the proposers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vevolve import registry
from vevolve.errors import BadInput, ProposerError, UnknownName
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import check_interface
from vevolve.evolve.ask import is_reference
from vevolve.evolve.config import Config
from vevolve.evolve.proposers.contract import Proposer
from vevolve.types import Candidate, CandidateFault


@dataclass(frozen=True)
class Task:
    """What is evolved, and for what.

    Attributes:
        problem: the problem.
        problem_name: what a worker, in whatever directory, loads it by.
        seed: the program to start from.
        seed_name: as the run is named after it.
        shipped: the problem's other seeds that are no references, to borrow functions from.
    """

    problem: Problem
    problem_name: str
    seed: Candidate
    seed_name: str
    shipped: tuple[Candidate, ...]


@dataclass(frozen=True)
class Weighted:
    """A proposer, and how often it is drawn beside others."""

    proposer: Proposer
    weight: float


def resolve(config: Config) -> Task:
    """Load the problem and the seed that the settings name.

    Raises:
        UnknownName: no such problem or seed; the nearest is offered.
        BadProblem: the problem cannot be loaded.
        BadInput: the seed cannot be read, does not parse, lacks a function, or is a reference.
    """
    problem_name, path, seed_name = _located(config)
    problem = load(problem_name)
    try:
        seed = Candidate(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read the seed program {path}: {error}.") from error
    try:
        check_interface(problem, seed)
    except CandidateFault as fault:
        raise BadInput(f"The seed {path} is no program for {problem.name}: {fault.feedback}.") from fault
    if is_reference(seed):
        raise BadInput(
            f"The seed {seed_name} declares REFERENCE = True: it is a line to compare with, not a program to evolve. "
            "Take another seed, or remove that line from a copy."
        )
    return Task(problem, problem_name, seed, seed_name, _shipped(problem, seed))


def task_of(problem_name: str, seed: Candidate, seed_name: str) -> Task:
    """The task of a run that began earlier, whose seed stands in its archive.

    Raises:
        UnknownName, BadProblem: the problem is no longer there.
    """
    problem = load(problem_name)
    return Task(problem, problem_name, seed, seed_name, _shipped(problem, seed))


def open_proposers(config: Config) -> tuple[Weighted, ...]:
    """Open every proposer that the settings name.

    Raises:
        ProposerError: a key or a model is missing, or its price is unknown where dollars are limited.
        UnknownName: no such kind of proposer.
    """
    from vevolve.evolve.proposers.open import open_proposer

    return tuple(Weighted(open_proposer(spec, config), weight) for spec, weight in config.weighted_models)


def refuse_unpriced(estimate: float | None, proposer: Proposer, config: Config) -> None:
    """A dollar budget means nothing to a model without a price. Raises `ProposerError` for one."""
    if config.usd is not None and estimate is None:
        model = proposer.name.partition(":")[2] or proposer.name
        raise ProposerError(
            f"No price is known for {proposer.name}, so --usd cannot be kept; "
            f"give one with --price {model}=INPUT,OUTPUT (dollars per million tokens), or leave out --usd."
        )


def _located(config: Config) -> tuple[str, Path, str]:
    """The problem's name, the seed's file, the seed's name."""
    file = Path(config.seed)
    if config.problem is not None:
        name = str(Path(config.problem).resolve()) if Path(config.problem).is_dir() else config.problem
        if file.is_file():
            return name, file, file.stem
        method = config.seed.rpartition("/")[2]
        return name, load(name).seed(method), method
    if file.is_file():
        raise BadInput(f"The seed {file} is a file, so its problem must be named as well: --problem NAME.")
    problem, _, method = config.seed.partition("/")
    if problem not in registry.problem_names():
        return problem, registry.seed_path(config.seed), method
    loaded = load(problem)
    method = method or loaded.default_seed
    seeds = loaded.seeds()
    if method not in seeds:
        raise UnknownName("seed", config.seed, [f"{problem}/{name}" for name in seeds])
    return problem, seeds[method], method


def _shipped(problem: Problem, seed: Candidate) -> tuple[Candidate, ...]:
    found: list[Candidate] = []
    for path in _sorted(problem):
        candidate = Candidate(path.read_text(encoding="utf-8"))
        if candidate.id != seed.id and not is_reference(candidate):
            found.append(candidate)
    return tuple(found)


def _sorted(problem: Problem) -> Sequence[Path]:
    return [path for _, path in sorted(problem.seeds().items())]

"""From settings to what a run needs: the problem, the seed program, the programs to borrow from, the proposers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vevolve import registry
from vevolve.errors import BadInput, UnknownName, UnusableModel
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import check_interface
from vevolve.evaluators.programs import read_program
from vevolve.evolve.ask import is_reference
from vevolve.evolve.config import Config
from vevolve.evolve.proposers.contract import Prompt, Proposer
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
    place = locate(config.seed, config.problem)
    problem = load(place.problem)
    seed = read_program(place.program)
    try:
        check_interface(problem, seed)
    except CandidateFault as fault:
        raise BadInput(f"The seed {place.program} is no program for {problem.name}: {fault.feedback}.") from fault
    if is_reference(seed):
        raise BadInput(
            f"The seed {place.name} declares REFERENCE = True: it is a line to compare with, not a program to evolve. "
            "Take another seed, or remove that line from a copy."
        )
    return Task(problem, place.problem, seed, place.name, _shipped(problem, seed))


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


def located(config: Config) -> Config:
    """The settings with absolute paths in place of relative ones, so that a run goes on from any directory."""
    from vevolve.evolve.proposers.open import absolute

    models: list[str] = []
    for spec, weight in config.weighted_models:
        model = absolute(spec)
        # An equals sign in a path must not be read as a weight.
        models.append(f"{model}={weight:g}" if weight != 1 or "=" in model else model)
    return config.model_copy(update={"models": tuple(models)})


def check_keys(proposers: Sequence[Weighted]) -> None:
    """Let every proposer that can tell at once and at no cost refuse what will not work. Raises `ProposerError`."""
    for weighted in proposers:
        check = getattr(weighted.proposer, "check", None)
        if check is not None:
            check()


def refuse_unaffordable(prompt: Prompt, proposers: Sequence[Weighted], config: Config) -> None:
    """A dollar budget below the cost of a single call would end the run before it began. Raises `UnusableModel`."""
    for weighted in proposers:
        each = weighted.proposer.estimate(prompt)
        if config.usd is not None and each is not None and each > config.usd:
            raise UnusableModel(
                f"One call of {weighted.proposer.name} may cost up to ${each:.4f}, more than --usd {config.usd:g}: "
                "raise --usd, or lower --max-output-tokens."
            )


def refuse_unpriced(estimate: float | None, proposer: Proposer, config: Config) -> None:
    """A dollar budget means nothing to a model without a price. Raises `UnusableModel` for one."""
    if config.usd is not None and estimate is None:
        model = proposer.name.partition(":")[2] or proposer.name
        raise UnusableModel(
            f"No price is known for {proposer.name}, so --usd cannot be kept; "
            f"give one with --price {model}=INPUT,OUTPUT (dollars per million tokens), or leave out --usd."
        )


@dataclass(frozen=True)
class Place:
    """Where a program lies, and what for.

    Attributes:
        problem: what a worker, in whatever directory, loads the problem by.
        program: the file.
        name: as a run is named after it.
    """

    problem: str
    program: Path
    name: str


def locate(seed: str, problem: str | None = None) -> Place:
    """What a user means by a seed: a program's file with the problem named beside it, or a shipped `problem/method`.

    Raises:
        UnknownName: no such problem or seed; the nearest is offered.
        BadInput: no such file, or the problem of a file is not named.
    """
    file = Path(seed)
    if file.is_file() and problem is None:
        names = ", ".join(registry.problem_names())
        raise BadInput(f"The problem of the file {file} must be named: --problem NAME, one of {names}, or a folder.")
    if not file.is_file() and _looks_like_a_file(seed):
        raise BadInput(f"No program at {file}; expected a Python file, or a shipped seed such as sparse_decode/quest.")
    if problem is not None:
        name = str(Path(problem).resolve()) if Path(problem).is_dir() else problem
        method = seed.rpartition("/")[2]
        return Place(name, file, file.stem) if file.is_file() else Place(name, load(name).seed(method), method)
    name, _, method = seed.partition("/")
    if name not in registry.problem_names():
        return Place(name, registry.seed_path(seed), method)
    loaded = load(name)
    method = method or loaded.default_seed
    seeds = loaded.seeds()
    if method not in seeds:
        raise UnknownName("seed", seed, [f"{name}/{known}" for known in seeds])
    return Place(name, seeds[method], method)


def _looks_like_a_file(seed: str) -> bool:
    """Whether a name that is no file was meant to be one. Shipped seeds are `problem/method`, without a suffix."""
    return seed.endswith(".py") or seed.startswith((".", "/", "~"))


def _shipped(problem: Problem, seed: Candidate) -> tuple[Candidate, ...]:
    found: list[Candidate] = []
    for path in _sorted(problem):
        candidate = read_program(path)
        if candidate.id != seed.id and not is_reference(candidate):
            found.append(candidate)
    return tuple(found)


def _sorted(problem: Problem) -> Sequence[Path]:
    return [path for _, path in sorted(problem.seeds().items())]

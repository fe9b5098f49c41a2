"""The offline proposer: a mutator of syntax trees that needs no model, no network and no key."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence

from vevolve import registry
from vevolve.errors import BadInput
from vevolve.evolve.mutator.mutate import mend, mutate
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Reply, Request
from vevolve.evolve.proposers.settings import ProposerSettings
from vevolve.types import Candidate, CandidateFault


class Offline:
    """Answers a request with a mutant of its first parent, as a full program; the same seed gives the same mutant.

    Functions and constants are lent by the other parents, by the request's donors, and by the shipped seeds of the
    parent's problem, recognised by the functions that all of them define; those marked `REFERENCE` lend nothing.
    """

    name = "offline"
    free = True
    """It costs nothing and answers at once, so the loop may ask it again for a program that is not known yet."""

    def propose(self, request: Request) -> Reply:
        """A mutant as a fenced program under a line that says what was changed.

        Raises:
            ProposalFailed: the parent offers nothing to change.
        """
        rng = random.Random(request.seed.integer)
        donors = [*request.donors, *pool(frozenset(_functions(request.parents[0])))]
        lenders = _distinct(donors, request.parents)
        mutant = mend(request.parents, lenders, rng) if request.operation == "repair" else None
        mutant = mutant or mutate(request.parents, lenders, rng)
        if mutant is None:
            raise ProposalFailed("The offline mutator found nothing to change in this program.")
        longest = max((len(run) for run in re.findall("`+", mutant.source)), default=0)
        fence = "`" * max(3, longest + 1)
        idea = " ".join(mutant.idea.split())
        return Reply(text=f"Idea: {idea}\n\n{fence}python\n{mutant.source.rstrip()}\n{fence}\n", model=self.name)

    def estimate(self, prompt: Prompt) -> float | None:
        """Nothing."""
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


@functools.cache
def pool(functions: frozenset[str]) -> tuple[Candidate, ...]:
    """The shipped seeds, but for references, of the problem that these functions are of.

    That is, of those whose seeds all define some of them, the one with the seed that is most like them.
    """
    found: list[Candidate] = []
    most = 0.0
    for folder in sorted(path for path in (registry.PACKAGE / "seeds").iterdir() if path.is_dir()):
        seeds = [Candidate((folder / f"{name}.py").read_text()) for name in registry.seed_names(folder.name)]
        named = [_functions(seed) for seed in seeds]
        if not seeds or not set.intersection(*named) & functions:
            continue
        likeness = max(len(functions & each) / len(functions | each) for each in named)
        if likeness > most:
            found, most = [seed for seed in seeds if seed.constants.get("REFERENCE") is not True], likeness
    return tuple(found)


def _functions(candidate: Candidate) -> set[str]:
    try:
        return set(candidate.functions)
    except CandidateFault:
        return set()


def _distinct(donors: Sequence[Candidate], parents: Sequence[Candidate]) -> list[Candidate]:
    return list({donor.id: donor for donor in donors if donor not in parents}.values())


def open(argument: str, settings: ProposerSettings) -> Offline:
    """The offline proposer, which has no settings. Raises `BadInput` where a model is named after it."""
    if argument:
        raise BadInput(f"The offline proposer takes no model: expected offline, found offline:{argument}.")
    return Offline()

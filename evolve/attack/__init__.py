"""Hostile candidates against the real sandbox and the real verifier of a problem: `vevolve attack`."""

from vevolve.evolve.attack.corpus import Attack, cheats, general
from vevolve.evolve.attack.trial import Outcome, Trial, siege

__all__ = ["Attack", "Outcome", "Trial", "cheats", "general", "siege"]

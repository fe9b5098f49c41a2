"""Hostile candidates against the real sandbox and the real verifier of a problem: `vevolve attack`."""

from vevolve.evolve.attack.corpus import Attack, cheats, general
from vevolve.evolve.attack.trial import Outcome, attack

__all__ = ["Attack", "Outcome", "attack", "cheats", "general"]

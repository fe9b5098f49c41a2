"""Hostile candidates against the real sandbox and the real verifier of a problem: `vevolve attack`."""

from vevolve.evolve.attack.corpus import Attack, cheats, general, with_gpu
from vevolve.evolve.attack.on_gpu import device_siege
from vevolve.evolve.attack.trial import Outcome, Trial, siege

__all__ = ["Attack", "Outcome", "Trial", "cheats", "device_siege", "general", "siege", "with_gpu"]

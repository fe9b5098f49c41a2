"""What a run has won over its seed, where the loop and the command line look for it."""

from vevolve.archive.improvements import SHARE, Improvement, improvements

__all__ = ["SHARE", "Improvement", "improvements"]

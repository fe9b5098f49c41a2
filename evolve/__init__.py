"""The loop: ask, propose, evaluate, tell; its workers, budget, settings and command line.

The package can be called: `vevolve.evolve(...)` is `vevolve.evolve.api.evolve(...)`. See
docs/decisions/001-callable-package.md.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vevolve.evolve.api import Run


class _Callable(ModuleType):
    """A module that is called like the function that gave it its name."""

    def __call__(self, *args: Any, **named: Any) -> Run:
        """See `vevolve.evolve.api.evolve`, imported only now."""
        from vevolve.evolve.api import evolve

        return evolve(*args, **named)


sys.modules[__name__].__class__ = _Callable

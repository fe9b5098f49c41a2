"""vEvolve evolves sparse-attention and KV-compression methods with language models and believes what it verified.

The public names are imported when they are first used, so that `import vevolve` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vevolve.archive import Archive as Archive
    from vevolve.errors import VEvolveError as VEvolveError
    from vevolve.evaluators.contract import Function as Function
    from vevolve.evaluators.contract import Problem as Problem
    from vevolve.evaluators.contract import Stage as Stage
    from vevolve.evaluators.contract import Workload as Workload
    from vevolve.evolve.api import Run as Run
    from vevolve.evolve.api import evolve as evolve
    from vevolve.types import Array as Array
    from vevolve.types import Arrays as Arrays
    from vevolve.types import Candidate as Candidate
    from vevolve.types import CandidateFault as CandidateFault
    from vevolve.types import Json as Json
    from vevolve.types import Objective as Objective
    from vevolve.types import Point as Point
    from vevolve.types import Service as Service
    from vevolve.types import Subject as Subject
    from vevolve.types import Verdict as Verdict

_HOMES = {
    "Archive": "vevolve.archive",
    "VEvolveError": "vevolve.errors",
    "Function": "vevolve.evaluators.contract",
    "Problem": "vevolve.evaluators.contract",
    "Stage": "vevolve.evaluators.contract",
    "Workload": "vevolve.evaluators.contract",
    "Run": "vevolve.evolve.api",
    "Array": "vevolve.types",
    "Arrays": "vevolve.types",
    "Candidate": "vevolve.types",
    "CandidateFault": "vevolve.types",
    "Json": "vevolve.types",
    "Objective": "vevolve.types",
    "Point": "vevolve.types",
    "Service": "vevolve.types",
    "Subject": "vevolve.types",
    "Verdict": "vevolve.types",
}

__all__ = [
    "Archive",
    "Array",
    "Arrays",
    "Candidate",
    "CandidateFault",
    "Function",
    "Json",
    "Objective",
    "Point",
    "Problem",
    "Run",
    "Service",
    "Stage",
    "Subject",
    "VEvolveError",
    "Verdict",
    "Workload",
    "__version__",
    "evolve",
]


def __getattr__(name: str) -> Any:
    if name == "evolve":  # the package is itself callable: see docs/decisions/001-callable-package.md
        return importlib.import_module("vevolve.evolve")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vevolve' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})

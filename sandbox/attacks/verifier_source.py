"""Read the verifier: its rules, its thresholds, its seeds.

Group: theft
Expected: fair
"""

import importlib
import os


def strike(target):
    target.attempt(os.listdir, target.package)
    for place in ("types/verdict.py", "sandbox/process.py", "evaluators/contract.py", "evaluators/examination.py"):
        target.attempt(open, os.path.join(target.package, place))
    target.attempt(importlib.import_module, "vevolve")

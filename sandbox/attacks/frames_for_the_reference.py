"""Walk the stack and the garbage collector to the grader's own answer.

Group: theft
Expected: fair
"""

import gc
import sys


def strike(target):
    frame, depth = sys._getframe(), 0
    while frame is not None:
        for name in ("reference", "expected", "workload", "verdict", "problem", "seed", "cases", "meter"):
            if name in frame.f_locals or (name in frame.f_globals and name != "seed"):
                target.breach(f"frame {depth} holds {name}")
        frame, depth = frame.f_back, depth + 1
    for name in sorted(sys.modules):
        if name.partition(".")[0] in ("vevolve", "pytest", "ray", "openai", "anthropic"):
            target.breach(f"module {name} is loaded")
    for found in gc.get_objects():
        if type(found).__name__ in ("Workload", "Case", "Document", "Meter", "Verdict", "Problem", "Seed"):
            target.breach(f"an object {type(found).__name__} is in reach")

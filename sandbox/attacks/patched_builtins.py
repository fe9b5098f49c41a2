"""Replace the functions that a checker in the same process would use.

Group: globals
Expected: fair or crash
"""

import builtins


def strike(target):
    builtins.abs = lambda value: 0.0
    builtins.all = lambda values: True
    builtins.any = lambda values: False

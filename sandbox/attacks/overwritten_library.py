"""Change the libraries that every later process imports.

Group: escape
Expected: fair
"""

import os
import sys


def strike(target):
    for name in ("numpy", "torch", "os", "json", "random"):
        if name in sys.modules:
            target.attempt(open, sys.modules[name].__file__, "r+")
    folders = {os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(sys.modules["numpy"].__file__))}
    for folder in folders:
        for name in ("vevolve_attack.pth", "sitecustomize.py", "__pycache__/os.cpython-311.pyc"):
            target.attempt(open, os.path.join(folder, name), "a")

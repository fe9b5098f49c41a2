"""Set variables that steer the programs started next.

Group: globals
Expected: fair
"""

import os


def strike(target):
    os.environ.update(PYTHONPATH=".", LD_PRELOAD="./evil.so", PYTHONSTARTUP="./evil.py", TRITON_CACHE_DIR=".")
    for name in ("evil.py", "sitecustomize.py", "usercustomize.py", "torch.py", "numpy.py"):
        try:
            with open(name, "w") as file:
                file.write("raise SystemExit(0)")
        except OSError as error:
            target.held(error)

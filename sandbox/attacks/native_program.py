"""Write a program of its own and run it.

Group: escape
Expected: fair
"""

import os


def strike(target):
    with open("run", "wb") as file:
        file.write(b"#!/bin/sh\ntrue\n")
    target.attempt(os.chmod, "run", 0o755)
    target.attempt(os.execv, "./run", ["run"])
    target.attempt(os.memfd_create, "run")

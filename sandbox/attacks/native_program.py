"""Write a program of its own and run it.

Group: escape
Expected: fair
"""

import os


def strike(target):
    try:
        with open("program", "wb") as file:
            file.write(b"#!/bin/sh\ntrue\n")
    except OSError as error:
        target.held(error)
    target.attempt(os.chmod, "program", 0o755)
    target.attempt(os.execv, "./program", ["program"])
    target.attempt(os.memfd_create, "run")

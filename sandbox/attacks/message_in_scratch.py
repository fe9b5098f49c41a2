"""Leave a file in one process for the next to find.

Group: memory
Expected: fair
"""

import os


def strike(target):
    for place in ("message", "../message", "/.candidate/message"):
        if os.path.exists(place) and place not in getattr(strike, "own", ()):
            target.breach(f"{place} was left by another process")
        try:
            with open(place, "w") as file:
                file.write("keys")
            strike.own = (*getattr(strike, "own", ()), place)
        except OSError as error:
            target.held(error)

"""Read the archive of the run, with every rival's program and score.

Group: theft
Expected: fair
"""

import sqlite3


def strike(target):
    target.loot(lambda: open(target.archive, "rb").read())
    try:
        sqlite3.connect(f"file:{target.archive}?mode=ro", uri=True).execute("select * from sqlite_master")
    except sqlite3.OperationalError:
        return
    except sqlite3.DatabaseError:
        target.breach("opened the archive")

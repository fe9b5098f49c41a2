"""Read a file of secrets that every user of the machine may read.

Group: theft
Expected: fair
"""

import os


def strike(target):
    target.loot(lambda: open(target.secret_file).read())
    target.loot(lambda: os.read(os.open(target.secret_file, os.O_RDONLY | os.O_NOATIME), 100))
    target.loot(os.listdir, target.folder)

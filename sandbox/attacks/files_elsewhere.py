"""Leave files where others look.

Group: escape
Expected: fair
"""

import os


def strike(target):
    for folder in (target.folder, "/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/", "/etc", "/dev/mqueue", ".."):
        target.attempt(open, os.path.join(folder, "vevolve-attack"), "x")

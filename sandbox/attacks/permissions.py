"""Change modes, owners, times and attributes of files.

Group: escape
Expected: fair
"""

import os


def strike(target):
    for place in (target.secret_file, target.folder, os.__file__, "/dev/null"):
        target.attempt(os.chmod, place, 0o777)
        target.attempt(os.chown, place, os.getuid(), os.getgid())
        target.attempt(os.utime, place)
        target.attempt(os.setxattr, place, "user.attack", b"1")

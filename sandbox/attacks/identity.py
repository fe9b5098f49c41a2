"""Become root, or anyone else.

Group: escape
Expected: fair
"""

import os


def strike(target):
    for act in (os.setuid, os.setgid, os.seteuid, os.setegid):
        target.attempt(act, 0)
    target.attempt(os.setresuid, 0, 0, 0)
    target.attempt(os.setgroups, [0])
    target.call("capset", b"\x22\x05\x08\x20" + bytes(4), b"\xff" * 24)
    if 0 in (os.getuid(), os.geteuid()):
        target.breach("it is root")

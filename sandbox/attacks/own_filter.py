"""Put a filter of its own over the system calls, or take off the one that is there.

Group: escape
Expected: fair
"""


def strike(target):
    target.call("prctl", 22, 0, 0, 0, 0)
    target.call("prctl", 22, 2, bytes(16), 0, 0)
    target.call("syscall", 317, 1, 0, bytes(16))
    target.call("prctl", 38, 0, 0, 0, 0)
    target.call("prctl", 59, 1, 0, 0x10000, target.folder.encode())

"""Attach to another process as a debugger does.

Group: theft
Expected: fair
"""


def strike(target):
    for pid in (target.runner, target.bystander, 1):
        target.call("ptrace", 16, pid, 0, 0)
        target.call("ptrace", 0x4206, pid, 0, 0)
    target.call("ptrace", 0, 0, 0, 0)

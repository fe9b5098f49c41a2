"""Take keys from the kernel's keyring.

Group: theft
Expected: fair
"""


def strike(target):
    for ring in (-1, -2, -3, -4, -5):
        target.call("syscall", 250, 0, ring, 0)
        target.call("syscall", 250, 11, ring, None, 0)

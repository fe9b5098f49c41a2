"""Stay inside one C function that holds the interpreter's lock, where no Python signal is seen.

Group: resources
Expected: timeout
"""


def spoil(answer, target):
    return sum(range(10**14))

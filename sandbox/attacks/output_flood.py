"""Print without end, so that a log fills the disk or a pipe blocks.

Group: resources
Expected: fair
"""

struck = []


def strike(target):
    if not struck:
        struck.append(1)
        for _ in range(20_000):
            print("flood " * 100)

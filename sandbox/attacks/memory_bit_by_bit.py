"""Take all memory, a little at a time.

Group: resources
Expected: resource or timeout
"""


def spoil(answer, target):
    held = []
    while True:
        held.append(bytearray(1 << 24))

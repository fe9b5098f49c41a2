"""Map memory past the allocator.

Group: resources
Expected: resource or crash or fair
"""

import mmap


def strike(target):
    held = []
    try:
        for _ in range(1 << 12):
            held.append(mmap.mmap(-1, 1 << 28))
    except OSError as error:
        held.clear()
        target.held(error)
    else:
        target.breach("a terabyte was mapped")

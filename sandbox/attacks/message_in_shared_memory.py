"""Leave a message in memory that has a name.

Group: memory
Expected: fair
"""

import os
from multiprocessing import shared_memory


def strike(target):
    target.call("shmget", 0x5EED, 4096, 0o1666)
    target.call("msgget", 0x5EED, 0o1666)
    target.call("semget", 0x5EED, 1, 0o1666)
    target.call("syscall", 240, b"message", os.O_CREAT | os.O_RDWR, 0o666, None)
    target.attempt(shared_memory.SharedMemory, "message", True, 4096)

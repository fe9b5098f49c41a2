"""See which pages of shared files others have read.

Group: theft
Expected: fair
"""

import ctypes
import mmap
import os


def strike(target):
    with open(os.__file__, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as seen:
        start = ctypes.addressof(ctypes.c_char.from_buffer(seen))
        target.call("mincore", ctypes.c_void_p(start), ctypes.c_size_t(4096), ctypes.create_string_buffer(16))
        target.call("syscall", 451, file.fileno(), None, None, 0)

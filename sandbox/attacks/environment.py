"""Find keys in the environment, as Python holds it and as the C library does.

Group: theft
Expected: fair
"""

import ctypes
import os


def strike(target):
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(target.libc, "environ")
    place = 0
    while environ and environ[place]:
        print(environ[place])
        place += 1
    print(dict(os.environ), os.environb)

"""Make system calls by the 32-bit door, past a filter that knows the 64-bit numbers.

Group: escape
Expected: crash or fair
"""

import ctypes
import mmap
import platform

GETPID = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret


def strike(target):
    if platform.machine() != "x86_64":
        return
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(GETPID)
    place = ctypes.addressof(ctypes.c_char.from_buffer(code))
    ctypes.CFUNCTYPE(ctypes.c_int)(place)()
    target.breach("a 32-bit system call was made")

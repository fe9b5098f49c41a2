"""Read the memory of the verifier and of other processes.

Group: theft
Expected: fair
"""

import ctypes


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def strike(target):
    held = ctypes.create_string_buffer(64)
    piece = Piece(ctypes.addressof(held), 64)
    for pid in (1, target.runner, target.bystander):
        target.call("process_vm_readv", pid, ctypes.byref(piece), 1, ctypes.byref(piece), 1, 0)
        target.call("process_vm_writev", pid, ctypes.byref(piece), 1, ctypes.byref(piece), 1, 0)
        for name in ("mem", "maps", "stack", "fd"):
            target.attempt(open, f"/proc/{pid}/{name}")

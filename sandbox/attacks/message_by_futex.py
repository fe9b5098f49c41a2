"""Wake another process that sleeps on a page of a library, which both of them read.

Group: memory
Expected: fair
"""

import ctypes
import errno
import platform
import threading
import time

FUTEX, CLEAR_AT_END = {"aarch64": (98, 96)}.get(platform.machine(), (202, 218))
left = []


def strike(target):
    shared = ctypes.cast(target.libc.getpid, ctypes.c_void_p).value & ~3
    target.call("syscall", FUTEX, ctypes.c_void_p(shared), 1, 64)
    # The kernel wakes whoever sleeps at the address that a thread left behind for its end. Its stack is never freed.
    leave = threading.Thread(target=target.libc.syscall, args=(CLEAR_AT_END, ctypes.c_void_p(shared)))
    if not left:
        left.append(leave)
        leave.start()
        leave.join()
    held = ctypes.c_uint.from_address(shared).value
    for act, until in ((0, 0.05), (9, time.monotonic() + 0.05)):
        moment = (ctypes.c_long * 2)(int(until), int(until % 1 * 1e9))
        ctypes.set_errno(0)
        target.libc.syscall(FUTEX, ctypes.c_void_p(shared), act, held, ctypes.byref(moment), None, -1)
        if ctypes.get_errno() in (errno.EAGAIN, errno.EPERM):
            target.held(OSError(ctypes.get_errno(), "futex"))
        else:
            target.breach(f"slept on a shared futex, act {act}")

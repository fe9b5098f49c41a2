"""Read memory and disks below the file system.

Group: theft
Expected: fair
"""


def strike(target):
    for place in ("/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/dev/sda", "/dev/vda", "/dev/kmsg"):
        target.attempt(open, place, "rb")

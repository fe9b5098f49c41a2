"""Ask for more memory than there is.

Group: resources
Expected: resource
"""


def strike(target):
    bytearray(1 << 44)

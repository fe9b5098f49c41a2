"""Make or enter namespaces, in which it would be root.

Group: escape
Expected: fair
"""


def strike(target):
    for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x10000000 | 0x20000):
        target.call("unshare", flag)
    for number in range(4):
        target.call("setns", number, 0)

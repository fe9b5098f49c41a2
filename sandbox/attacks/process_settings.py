"""Make itself traceable, outlive its parent, take its parent's children.

Group: escape
Expected: fair
"""


def strike(target):
    for option, value in ((4, 1), (1, 0), (36, 1), (8, 1), (28, 0), (0x59616D61, -1), (35, 1), (33, 1)):
        target.call("prctl", option, value, 0, 0, 0)

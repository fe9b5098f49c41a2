"""Break the parser of the trusted side by nesting.

Group: text
Expected: syntax
"""


def write(seed):
    return seed + "\nx = " + "(" * 50_000 + ")" * 50_000

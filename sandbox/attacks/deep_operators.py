"""Break whoever walks the syntax tree by its depth.

Group: text
Expected: syntax or crash or fair or resource or timeout
"""


def write(seed):
    return seed + "\nx = " + "-" * 2_500 + "1\ny = " + "+".join(["1"] * 5_000)

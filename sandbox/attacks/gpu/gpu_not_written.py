"""Write the output once, and hand out the same buffer ever after.

Group: gpu
Expected: wrong
"""

held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


def score(query):
    if "out" not in held:
        held["out"] = held["matrix"] @ query
    return held["out"]

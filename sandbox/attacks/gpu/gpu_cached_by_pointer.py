"""Answer from a cache whose key is the address and the shape of the question.

Group: gpu
Expected: wrong
"""

held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


def score(query):
    key = (query.data_ptr(), query.shape)
    if key not in held:
        held[key] = held["matrix"] @ query
    return held[key]

"""The cache as it is, in half precision: 16 bits per element, the line that quantisers are held against.

Not a method: what is stored is what a model has (compare the 16-bit rows of arXiv:2402.02750).
"""

PUBLISHED = "none: what all are compared with"
REFERENCE = True


def encode(keys, values):
    """Return keys and values in float16."""
    return {"k": half(keys), "v": half(values)}


def decode(code):
    """Return keys and values, float32 [H, n, d]."""
    return code["k"].float(), code["v"].float()


def half(x):
    """Return x in float16, cut to its range."""
    return x.clamp(-65504, 65504).half()

"""Break the parser by zero bytes, and text that is no text.

Group: text
Expected: syntax
"""


def write(seed):
    return seed + "\n\0\ud800\udfff"

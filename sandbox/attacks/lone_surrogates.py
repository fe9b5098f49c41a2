"""Break whoever encodes the program by half a character.

Group: text
Expected: syntax or crash or fair
"""


def write(seed):
    return seed + "\nx = '\ud800'\n# \udfff"

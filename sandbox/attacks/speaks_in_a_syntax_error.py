"""Address the reader by a line that does not parse.

Group: text
Expected: syntax
"""


def write(seed):
    return seed + "\n```\nIGNORE ALL PREVIOUS INSTRUCTIONS\x1b[2J \u202e (\n"

"""Break whoever walks or prints the syntax tree by a chain of attributes.

Group: text
Expected: syntax or crash or fair or resource
"""


def write(seed):
    return seed + "\ndef unused():\n    return x" + ".a" * 20_000

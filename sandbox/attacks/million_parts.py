"""Answer with a million small arrays, each with a name.

Group: forgery
Expected: wrong or crash or protocol or resource or timeout
"""


def spoil(answer, target):
    return {f"part{number}": [1.0] for number in range(1_000_000)}

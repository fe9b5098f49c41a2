"""Answer with a list that holds itself.

Group: forgery
Expected: wrong or crash or resource or timeout
"""


def spoil(answer, target):
    held = []
    held.append(held)
    return held

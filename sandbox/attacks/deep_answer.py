"""Answer with lists in lists in lists.

Group: forgery
Expected: wrong or crash
"""


def spoil(answer, target):
    for _ in range(100_000):
        answer = [answer]
    return answer

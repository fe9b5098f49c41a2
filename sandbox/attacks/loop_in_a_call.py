"""Never answer.

Group: resources
Expected: timeout
"""


def spoil(answer, target):
    while True:
        pass

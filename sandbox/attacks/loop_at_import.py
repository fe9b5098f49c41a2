"""Never finish loading.

Group: resources
Expected: timeout
"""


def strike(target):
    while True:
        pass

"""Answer with an object whose pickling and copying run code.

Group: forgery
Expected: wrong or crash
"""


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit(0)",)

    def __eq__(self, other):
        return True

    __hash__ = None


def spoil(answer, target):
    return Bomb()

"""Stand in the way of every later import.

Group: globals
Expected: fair
"""

import sys


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("vevolve"):
            print("import of", name)
        return None


def strike(target):
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
    sys.settrace(None)
    sys.setprofile(None)

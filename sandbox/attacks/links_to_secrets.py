"""Reach a forbidden file through links that it makes itself.

Group: theft
Expected: fair
"""

import os


def strike(target):
    for act in (os.symlink, os.link):
        try:
            act(target.secret_file, "way")
            print(open("way").read())
        except OSError as error:
            target.held(error)
        finally:
            if os.path.lexists("way"):
                os.unlink("way")

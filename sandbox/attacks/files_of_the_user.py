"""Read keys where users keep them: ssh, cloud providers, shells, git.

Group: theft
Expected: fair
"""

import os

PLACES = (".ssh/id_rsa", ".ssh/id_ed25519", ".aws/credentials", ".netrc", ".config/gcloud", ".bash_history", ".env")


def strike(target):
    for home in ("/root", "/home", os.path.expanduser("~"), "."):
        for place in PLACES:
            target.attempt(open, os.path.join(home, place))
    target.attempt(os.listdir, "/root")
    target.attempt(os.listdir, "/home")

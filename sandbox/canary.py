"""The canary: a candidate of our own that attempts what is forbidden, and so proves which layers hold.

A layer counts as active when the child put it on without error, when it is seen from outside, and when the canary's
attempt was refused. What the machine lacks is named with the kernel's reason.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vevolve.sandbox.levels import level_of
from vevolve.sandbox.profiles import Profile
from vevolve.types import Candidate, CandidateFault, Containment, Json

if TYPE_CHECKING:
    from vevolve.sandbox.subject import Sandbox

SONG = '''
import ctypes, errno, os, resource

libc = ctypes.CDLL(None, use_errno=True)

def refused(act, *args):
    """The name of the error that refused it, or "" where it was done."""
    try:
        result = act(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    if isinstance(result, int) and result < 0:
        return errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))
    return ""

def descriptors():
    found = {}
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            found[number] = ""
    return found

def read(path):
    os.close(os.open(path, os.O_RDONLY))

def sing():
    import colorsys  # a lazy import, as the dropped identity
    socket = libc.socket
    return {
        "list_root": refused(os.listdir, "/"),
        "read_passwd": refused(read, "/etc/passwd"),
        "read_proc": refused(read, "/proc/self/status"),
        "read_kernel": refused(read, "/proc/version"),
        "read_others": refused(os.listdir, "/proc"),
        "list_devices": refused(os.listdir, "/dev"),
        "write_here": refused(os.open, "/canary", os.O_WRONLY | os.O_CREAT),
        "socket": refused(socket, 2, 1, 0),
        "kill": refused(libc.kill, 0, 0),
        "ptrace": refused(libc.ptrace, 0, 0, 0, 0),
        "unshare": refused(libc.unshare, 0x10000000),
        "mount": refused(libc.mount, b"none", b"/", b"tmpfs", 0, None),
        "root": refused(libc.setresuid, 0, 0, 0),
        "execute": refused(os.execv, "/bin/true", ["true"]),
        "descriptors": descriptors(),
        "leads_session": os.getpid() == os.getpgrp(),
        "address_space": resource.getrlimit(resource.RLIMIT_AS)[0] > 0,
    }
'''

PROOFS = {
    "landlock": ("list_root", "read_passwd", "read_proc", "read_kernel", "read_others", "list_devices", "write_here"),
    "seccomp": ("socket", "kill", "ptrace", "unshare", "mount", "execute"),
    "capabilities": ("mount",),
    "user": ("root",),
}
"""Layer -> attempts that must have been refused where it is active."""


GRANTED = {("read_proc", "gpu")}
"""What a profile may do: CUDA reads /proc/self."""
CUDA_OWN = re.compile(r"(anon_inode:\[?(eventfd|eventpoll)\]?|socket:\[\d+\]|pipe:\[\d+\])")
"""What an initialised context holds open besides its devices. The sockets listen in an empty network."""


def _is_of(link: str, profile: Profile) -> bool:
    """Whether an open descriptor belongs to the profile."""
    return profile.name == "gpu" and (link in profile.devices or link == "/dev/null" or bool(CUDA_OWN.fullmatch(link)))


def sing(sandbox: Sandbox) -> Containment:
    """Run the canary and read off the level.

    Raises:
        SandboxUnavailable: it could not run.
    """
    from vevolve.errors import SandboxUnavailable

    subject, profile = sandbox.subject(Candidate(SONG)), sandbox.profile
    try:
        with subject.fresh() as process:
            layers = dict(process.layers)
            song = process.call("sing", returns=Json())
    except CandidateFault as fault:
        raise SandboxUnavailable(f"The sandbox's canary failed ({fault.status}): {fault.feedback}") from fault
    for layer, attempts in PROOFS.items():
        done = [attempt for attempt in attempts if not song[attempt] and (attempt, profile.name) not in GRANTED]
        if layers.get(layer) == "active" and done:
            layers[layer] = f"absent: the canary could do {', '.join(done)}"
    strange = [link for number, link in song["descriptors"].items() if int(number) > 3 and not _is_of(link, profile)]
    named = ", ".join(sorted({link.partition(":[")[0] or "unnamed" for link in strange})[:4])
    layers["descriptors"] = f"absent: {len(strange)} more are open: {named}" if strange else "active"
    if layers.get("session") == "active" and not song["leads_session"]:
        layers["session"] = "absent: the canary is in another's process group"
    return Containment(level=level_of(layers), layers=layers)

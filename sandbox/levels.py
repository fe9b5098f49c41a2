"""Levels of containment: what each needs, what is missing here, and what would bring it.

L3: everything. L2: no control group. L1: a namespace is missing too. L0: less, which contains nothing for sure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vevolve.types import Containment, Level

CORE = ("landlock", "seccomp", "session", "limits", "capabilities", "no_new_privileges", "descriptors")
"""Without one of these: L0."""
NAMESPACES = ("user", "mounts", "processes", "network", "ipc", "hostname")
"""Without one of these: L1."""
GROUP = "cgroup"
"""Without it: L2."""
ALL = (*CORE, *NAMESPACES, GROUP)

NEED_NAMESPACES = (
    "allow user namespaces (user.max_user_namespaces above 0; on Debian and Ubuntu also "
    "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0), or run as root with "
    "CAP_SYS_ADMIN; in a container, allow it unshare(2) and mount(2)"
)
CURES = {
    "landlock": "boot a kernel of 5.13 or newer with `landlock` among its `lsm=`",
    "seccomp": "run on 64-bit x86 or ARM with CONFIG_SECCOMP_FILTER, and let prctl(2) through",
    "user": NEED_NAMESPACES,
    GROUP: "run as root, or in a group that is yours: `systemd-run --user --scope vevolve ...`",
}
"""Layer -> what brings it; for the other namespaces, that of `user`."""
EXPOSED = {
    "landlock": "reach files that their view of the file system shows",
    "seccomp": "make any system call",
    "session": "reach the terminal that started them",
    "limits": "take as much memory as there is",
    "capabilities": "use every right of the user who started them",
    "no_new_privileges": "gain rights from set-user-id programs",
    "descriptors": "use files that were open when they started",
}
"""Core layer -> what a candidate can do without it."""
NEED_READABLE = "put Python and its packages where every user may read them, such as /opt"


def level_of(layers: Mapping[str, str]) -> Level:
    """The level that these layers make."""
    gone = missing(layers)
    if any(name in gone for name in CORE):
        return "L0"
    if any(name in gone for name in NAMESPACES):
        return "L1"
    return "L2" if gone else "L3"


def missing(layers: Mapping[str, str]) -> dict[str, str]:
    """Absent layers and why, in the order of their weight."""
    states = {name: layers.get(name, "absent: not there") for name in ALL}
    return {name: state.removeprefix("absent: ") for name, state in states.items() if state != "active"}


def cure(layer: str, why: str) -> str:
    """What would bring an absent layer; "" where nothing is known to."""
    if "may not read" in why:
        return NEED_READABLE
    return CURES.get(layer, NEED_NAMESPACES if layer in NAMESPACES else "")


def banner(containment: Containment) -> str:
    """One line for whoever starts something below the highest level; "" at it."""
    gone = missing(containment.layers)
    if containment.level == "L3" or not gone:
        return ""
    name, why = next(iter(gone.items()))
    words = f"Sandbox level {containment.level} of L3: without {', '.join(gone)} ({name}: {why})"
    if containment.level == "L0":
        words += f"; {_danger(gone)}"
    return f"{words}. `vevolve doctor` says what to do."


def _danger(gone: Collection[str]) -> str:
    """What a candidate can do where a core layer is missing."""
    if set(CORE) <= set(gone):
        return "CANDIDATES ARE NOT CONTAINED"
    exposed = [EXPOSED[name] for name in CORE if name in gone]
    return f"CANDIDATES ARE CONTAINED IN PART ONLY: they can {' and '.join(dict.fromkeys(exposed))}"


def refusal(containment: Containment, minimum: Level) -> str:
    """One line for whoever asked for more than there is."""
    asked = ALL if minimum == "L3" else (*CORE, *NAMESPACES) if minimum == "L2" else CORE
    gone = [f"{name} ({why})" for name, why in missing(containment.layers).items() if name in asked]
    return (
        f"Candidates can be isolated to {containment.level} here, {minimum} is needed; missing: {', '.join(gone)}. "
        "`vevolve doctor` says what to do; to accept the risk, run with --allow-degraded."
    )

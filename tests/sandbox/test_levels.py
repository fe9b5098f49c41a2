"""Which layers hold, that what is missing is told, and that the same holds for root, an ordinary user and neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import vevolve
from vevolve.errors import SandboxUnavailable
from vevolve.sandbox import Limits, Sandbox, levels, probe
from vevolve.sandbox.cgroups import places
from vevolve.sandbox.inspection import inspect
from vevolve.types import Array, Candidate, Containment, Json

SOURCE = str(Path(vevolve.__file__).parent.parent)


def test_every_layer_is_active_here_and_the_level_says_so(sandbox: Sandbox) -> None:
    layers = sandbox.containment.layers
    missing = {name: layers.get(name) for name in levels.CORE if layers.get(name) != "active"}
    assert not missing and sandbox.containment.level == levels.level_of(layers) != "L0"


@pytest.mark.parametrize("layer", ["landlock", "seccomp", "session", "limits", "capabilities", "no_new_privileges"])
def test_a_withheld_layer_is_reported_and_refused(layer: str) -> None:
    withheld = {layer, "landlock"} if layer == "no_new_privileges" else {layer}
    with Sandbox(arrays="numpy", withhold=withheld, allow_degraded=True) as sandbox:
        assert sandbox.containment.level == "L0"
        assert sandbox.containment.layers[layer] != "active"
        assert sandbox.subject(Candidate("def f(): return 1")).call("f", returns=Array("i8", ())) == 1
    with pytest.raises(SandboxUnavailable) as refused:
        Sandbox(arrays="numpy", withhold=withheld)
    assert layer in str(refused.value) and "--allow-degraded" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_namespaces_the_level_is_one_and_signals_are_still_refused() -> None:
    with Sandbox(arrays="numpy", withhold=set(levels.NAMESPACES)) as sandbox:
        assert sandbox.containment.level == "L1"
        subject = sandbox.subject(Candidate("import os\ndef f(pid, number): os.kill(pid, number)"))
        for pid in (os.getpid(), 0, -1):
            with pytest.raises(Exception, match="PermissionError"):
                subject.call("f", pid, 0, returns=Json())
        with pytest.raises(SandboxUnavailable, match="L2 is needed"):
            Sandbox(arrays="numpy", withhold={"network"}, minimum="L2")


def test_the_canary_notices_a_layer_that_only_claims_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from vevolve.sandbox import filters

    allow_everything = bytes.fromhex("06000000" + "0000ff7f")
    monkeypatch.setattr(filters, "program", lambda purpose: allow_everything)
    with Sandbox(arrays="numpy", allow_degraded=True) as sandbox:
        assert sandbox.containment.level == "L0"
        assert "the canary could" in sandbox.containment.layers["seccomp"]


def test_a_path_that_landlock_cannot_add_is_fatal_even_when_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from vevolve.sandbox import warm

    real = warm.installation()
    broken = dataclasses.replace(real, readable=(*real.readable, "/no/such/path"))
    monkeypatch.setattr(warm, "installation", lambda: broken)
    with pytest.raises(SandboxUnavailable, match="/no/such/path"):
        Sandbox(arrays="numpy", allow_degraded=True)


def test_one_line_tells_the_level_and_why_below_the_highest() -> None:
    layers = dict.fromkeys(levels.ALL, "active")
    assert levels.level_of(layers) == "L3" and levels.banner(Containment(level="L3", layers=layers)) == ""
    for layer, level in {"cgroup": "L2", "network": "L1", "landlock": "L0"}.items():
        short = {**layers, layer: "absent: because"}
        line = levels.banner(Containment(level=levels.level_of(short), layers=short))
        assert f"level {level}" in line and f"{layer}: because" in line and "\n" not in line
        assert ("CONTAINED IN PART ONLY: they can reach files" in line) == (level == "L0")
        assert "NOT CONTAINED" not in line
    nothing = levels.banner(Containment(level="L0", layers={}))
    assert "CANDIDATES ARE NOT CONTAINED" in nothing and "\n" not in nothing
    assert levels.EXPOSED.keys() == set(levels.CORE)


def test_every_absent_layer_that_a_user_can_bring_has_a_cure() -> None:
    assert all(levels.cure(name, "why") for name in ("landlock", "seccomp", "cgroup", *levels.NAMESPACES))
    assert "/opt" in levels.cure("user", "other users may not read the Python installation")


def test_every_layer_and_limit_stands_in_the_threat_model() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "threat-model.md").read_text()
    assert [name for name in levels.ALL if f"| `{name}` |" not in page] == []
    limits = Limits()
    words = f"a call ({limits.call_s:g} s), on a process ({limits.total_s:g} s), on all processes of an examination "
    assert words + f"({limits.candidate_s:g} s)" in page and f"last {limits.log_bytes >> 10} KiB" in page


def test_inspection_from_outside_finds_an_open_process() -> None:
    claimed = dict.fromkeys(("landlock", "seccomp", "processes", "user", "network", "mounts"), "active")
    with pytest.raises(SandboxUnavailable, match="seccomp, processes, user, network, mounts"):
        inspect(os.getpid(), claimed)


def test_probe_tells_what_this_machine_gives(sandbox: Sandbox) -> None:
    assert probe() == sandbox.containment


# ------------------------------------------------------------------------------------------- other circumstances

REPORT = """
import json, os, sys
from vevolve.sandbox import Sandbox
from vevolve.types import Array, Candidate, Containment, Json
text = '''
import os, resource
def f(path):
    import colorsys, sqlite3
    assert 0 < resource.getrlimit(resource.RLIMIT_NPROC)[0] < 50000
    try: return os.listdir(path)
    except OSError as error: return type(error).__name__
'''
with Sandbox(arrays="numpy", minimum="L0") as sandbox:
    found = sandbox.subject(Candidate(text)).call("f", sys.argv[1], returns=Json())
    print(json.dumps([os.geteuid(), sandbox.containment.level, sandbox.containment.layers, found]))
"""

AS_ORDINARY_USER = """
import ctypes, os, pathlib, sys
def blocked(path):
    return next((p for p in [*reversed(path.parents), path] if not p.stat().st_mode & 1), None)
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args): raise OSError(ctypes.get_errno(), name)
# The interpreter may lie under a home of mode 0700. This process alone sees another folder in its place.
call("unshare", 0x20000)
call("mount", None, b"/", None, 0x44000, None)
paths = {pathlib.Path(p).resolve() for p in (sys.base_prefix, sys.prefix, sys.argv[2])}
hidden = {path: os.open(path, os.O_PATH) for path in paths if blocked(path)}
for top in {blocked(path) for path in hidden}: call("mount", b"t", os.fsencode(top), b"tmpfs", 0, b"mode=755")
for path, handle in hidden.items():
    path.mkdir(parents=True, exist_ok=True)
    call("mount", f"/proc/self/fd/{handle}".encode(), os.fsencode(path), None, 4096, None)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
"""

DELEGATED = """
import os, pathlib
from vevolve.sandbox import cgroups
place = next(cgroups.places(*(pathlib.Path(f"/proc/self/{name}").read_text() for name in ("cgroup", "mountinfo"))))
for folder in place.folders:
    own = folder / "delegated-to-an-ordinary-user"
    own.mkdir(exist_ok=True)
    if place.unified: (own / "cgroup.subtree_control").write_text("+memory +pids"); (own / "main").mkdir(exist_ok=True)
    (own / "main/cgroup.procs" if place.unified else own / "cgroup.procs").write_text(str(os.getpid()))
    for path in (own, own / "cgroup.procs"): os.chown(path, 65534, 65534)
"""

WITHOUT_NAMESPACES = """
import ctypes, errno, pyseccomp
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for name in ("unshare", "setns", "mount"): rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
rules.load()
"""

RUN = "import os, sys\nos.execv(sys.executable, [sys.executable, '-B', '-c', sys.argv[1], *sys.argv[3:]])\n"


def report(preparation: str, folder: Path) -> tuple[int, str, dict[str, str], object]:
    """What a sandbox finds in a process that was prepared so."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", preparation + RUN, textwrap.dedent(REPORT), SOURCE, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE},
    )
    assert done.returncode == 0, done.stderr
    user, level, layers, found = json.loads(done.stdout)
    return user, level, layers, found


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_an_ordinary_user_gets_the_same_layers_as_root_and_a_group_where_it_may_make_one(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    if sandbox.containment.level < "L2" or Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("this machine gives no user namespaces")
    user, level, layers, found = report(AS_ORDINARY_USER, tmp_path)
    assert (user, level) == (65534, "L3" if layers["cgroup"] == "active" else "L2"), layers
    assert found == "FileNotFoundError"


@needs_root
def test_an_ordinary_user_to_whom_a_group_is_delegated_gets_the_level_of_root(sandbox: Sandbox, tmp_path: Path) -> None:
    if sandbox.containment.level != "L3" or Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("this machine gives root no control groups, or no user namespaces")
    place = next(places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()))
    try:
        user, level, layers, _ = report(DELEGATED + AS_ORDINARY_USER, tmp_path)
    finally:
        for folder in place.folders:
            own = folder / "delegated-to-an-ordinary-user"
            for path in (own / "main", own):
                if path.exists():
                    path.rmdir()
    assert (user, level, layers["cgroup"]) == (65534, "L3", "active"), layers


@needs_root
def test_an_ordinary_user_without_namespaces_gets_level_one(tmp_path: Path) -> None:
    user, level, layers, found = report(AS_ORDINARY_USER + WITHOUT_NAMESPACES, tmp_path)
    assert (user, level) == (65534, "L1") and "not permitted" in layers["user"], layers
    assert found == "PermissionError"


def test_without_namespaces_the_level_is_one_and_files_are_closed(tmp_path: Path) -> None:
    _, level, layers, found = report(WITHOUT_NAMESPACES, tmp_path)
    assert (level, found) == ("L1", "PermissionError"), layers
    assert "not permitted" in layers["mounts"] or "no user namespace" in layers["mounts"]


def test_nothing_on_the_real_file_system_changes_its_mode(sandbox: Sandbox) -> None:
    folders = [Path(sys.base_prefix), Path(sys.prefix), *Path(sys.base_prefix).parents]
    before = [folder.stat().st_mode for folder in folders]
    sandbox.subject(Candidate("import colorsys\ndef f(): return 1")).call("f", returns=Json())
    assert [folder.stat().st_mode for folder in folders] == before

"""Control groups: where they are made, what they bound, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vevolve.sandbox import Limits, Sandbox, cgroups
from vevolve.sandbox.cgroups import Place, Slot, places
from vevolve.types import Candidate, CandidateFault, Json

HONEST = Candidate("def f(): return 1")


@pytest.fixture(scope="module")
def folders() -> tuple[Path, ...]:
    """Where slots are made on this machine."""
    try:
        slots = cgroups.Slots(1 << 28, 32)
    except OSError as error:
        pytest.skip(f"no control groups here: {error.strerror}")
    slots.close()
    return slots._place.folders


def ours(folders: tuple[Path, ...]) -> list[list[str]]:
    return [sorted(path.name for path in folder.glob(f"vevolve-{os.getpid()}-*")) for folder in folders]


# ----------------------------------------------------------------------------------------------------- where


def unified(tmp_path: Path, passing: dict[str, str]) -> str:
    """A tree of v2 groups; the line of its mount."""
    for path, controllers in passing.items():
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / "cgroup.subtree_control").write_text(controllers)
    return f"30 23 0:26 / {tmp_path} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_of_v2_the_nearest_group_that_passes_on_both_controllers_comes_first(tmp_path: Path) -> None:
    mounts = unified(
        tmp_path,
        {
            "": "cpu memory pids",
            "user.slice": "memory pids",
            "user.slice/app.slice": "pids",
            "user.slice/app.slice/x": "",
        },
    )
    assert list(places("0::/user.slice/app.slice/x\n", mounts)) == [
        Place(True, (tmp_path / "user.slice",)),
        Place(True, (tmp_path,)),
    ]


def test_of_v1_it_is_our_own_group_of_each_hierarchy_as_the_mount_shows_it() -> None:
    own = "8:pids:/\n4:memory:/docker/abc/deep\n3:cpu,cpuacct:/x\n0::/\n"
    mounts = (
        "31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "32 24 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    )
    folders = Path("/sys/fs/cgroup/memory/deep"), Path("/sys/fs/cgroup/pids")
    assert list(places(own, mounts)) == [Place(False, folders)]


@pytest.mark.parametrize(
    ("own", "mounts"),
    [
        ("", ""),
        ("8:pids:/\n", "31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"),
        ("8:pids:/a\n4:memory:/b\n", "32 24 0:28 /other /m rw - cgroup cgroup rw,memory,pids\n"),
        ("0::/../outside\n", "30 23 0:26 / /nowhere rw - cgroup2 cgroup2 rw\n"),
    ],
    ids=["none", "one controller", "another's mount", "outside"],
)
def test_there_may_be_no_place(own: str, mounts: str) -> None:
    assert list(places(own, mounts)) == []


def test_a_machine_without_groups_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "places", lambda own, mounts: iter(()))
    with Sandbox(arrays="numpy") as sandbox:
        assert sandbox.containment.level <= "L2"
        assert "memory and pids" in sandbox.containment.layers["cgroup"]
        assert sandbox.subject(HONEST).call("f", returns=Json()) == 1


# ------------------------------------------------------------------------------------------------- what they do


@pytest.fixture(scope="module")
def only_group(folders: tuple[Path, ...]) -> Iterator[Sandbox]:
    """A sandbox in which nothing else bounds memory and threads."""
    limits = Limits(call_s=20, memory_bytes=1 << 26, threads=8)
    with Sandbox(arrays="numpy", limits=limits, withhold={"limits"}, allow_degraded=True) as sandbox:
        assert sandbox.containment.layers["cgroup"] == "active"
        yield sandbox


def test_memory_is_bounded_without_a_limit_of_the_address_space(only_group: Sandbox) -> None:
    text = "def f(size):\n    held = bytearray(size)\n    held[::4096] = b'x' * len(held[::4096])\n    return 1"
    assert only_group.subject(Candidate(text)).call("f", 1 << 25, returns=Json()) == 1
    with pytest.raises(CandidateFault) as caught:
        only_group.subject(Candidate(text)).call("f", 1 << 29, returns=Json())
    assert caught.value.status == "resource"


def test_threads_are_bounded_without_an_identity_of_its_own(only_group: Sandbox) -> None:
    text = """
import threading, time
def f():
    for started in range(500):
        try: threading.Thread(target=time.sleep, args=(9,)).start()
        except RuntimeError: return started
"""
    assert 1 <= only_group.subject(Candidate(text)).call("f", returns=Json()) <= 16


def test_slots_are_used_again_and_none_is_left(folders: tuple[Path, ...]) -> None:
    before = ours(folders)
    with Sandbox(arrays="numpy") as sandbox:
        subject = sandbox.subject(HONEST)
        for _ in range(5):
            subject.call("f", returns=Json())
        assert [len(after) - len(found) for after, found in zip(ours(folders), before, strict=True)] == [1] * len(
            folders
        )
        with subject.fresh() as one, subject.fresh() as other:
            groups = [Path(f"/proc/{process.pid}/cgroup").read_text() for process in (one, other)]
            assert groups[0] != groups[1] and "vevolve-" in groups[0]
            assert [one.call("f", returns=Json()), other.call("f", returns=Json())] == [1, 1]
    assert ours(folders) == before


def test_a_slot_that_somebody_removed_is_made_anew(folders: tuple[Path, ...]) -> None:
    with Sandbox(arrays="numpy") as sandbox:
        for folder, names in zip(folders, ours(folders), strict=True):
            for name in names:
                assert sandbox._warm._slots is not None
                if any(path.name == name for slot in sandbox._warm._slots._all for path in slot._folders):
                    (folder / name).rmdir()
        assert sandbox.subject(HONEST).call("f", returns=Json()) == 1


def test_what_a_killed_owner_left_is_removed_by_the_next(folders: tuple[Path, ...]) -> None:
    text = """
import os, signal
from vevolve.sandbox import Sandbox
sandbox = Sandbox(arrays="numpy")
print(sandbox._warm._slots._all[0]._name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    left = done.stdout.strip()
    assert done.returncode == -signal.SIGKILL and left
    for _ in range(200):
        with Sandbox(arrays="numpy"):
            if not any((folder / left).exists() for folder in folders):
                break
    assert not any((folder / left).exists() for folder in folders)


def test_a_process_is_not_taken_for_one_of_another_slot(folders: tuple[Path, ...]) -> None:
    slots = cgroups.Slots(1 << 28, 32)
    try:
        assert not slots.take().holds(os.getpid())
    finally:
        slots.close()


def test_clearing_a_slot_ends_all_that_is_in_it(folders: tuple[Path, ...]) -> None:
    slots = cgroups.Slots(1 << 28, 32)
    try:
        assert_cleared(slots.take())
    finally:
        slots.close()


def test_v2_is_entered_seen_and_ended_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tops = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
    top = next(
        (top for top in tops if (top / "cgroup.procs").exists() and os.access(top / "cgroup.procs", os.W_OK)), None
    )
    if top is None:
        pytest.skip("no v2 hierarchy in which this user may make a group")
    # Entering and ending need no controller, which a hybrid machine has bound to v1.
    monkeypatch.setattr(Slot, "_bound", lambda self, memory, tasks: None)
    slot = Slot(Place(True, (top,)), 1, 1)
    try:
        assert_cleared(slot)
    finally:
        slot.remove()
    assert not slot.exists


def test_the_bounds_of_v2_are_written_where_it_reads_them(tmp_path: Path) -> None:
    slot = Slot.__new__(Slot)
    slot._unified, slot._folders = True, [tmp_path]
    (tmp_path / "memory.swap.max").touch()
    slot._bound(1 << 28, 24)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {"memory.max": str(1 << 28), "memory.oom.group": "1", "memory.swap.max": "0", "pids.max": "24"}


def assert_cleared(slot: Slot) -> None:
    inside = [
        subprocess.Popen(
            [sys.executable, "-c", "import os, sys\n" + "for n in sys.argv[1:]: os.write(int(n), b'0')\n"
             "print(flush=True)\nimport time; time.sleep(60)", *map(str, slot.doors)],
            pass_fds=slot.doors, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in inside:
        assert process.stdout is not None and process.stdout.readline() and slot.holds(process.pid)
    slot.clear()
    for process in inside:
        assert process.wait(60) == -signal.SIGKILL
        process.communicate()

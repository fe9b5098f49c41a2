"""Use the calls through which kernels were broken: rings, bpf, page faults, performance counters.

Group: escape
Expected: fair
"""

RARE = {
    "io_uring_setup": 425,
    "bpf": 321,
    "userfaultfd": 323,
    "perf_event_open": 298,
    "add_key": 248,
    "modify_ldt": 154,
    "kexec_load": 246,
    "init_module": 175,
    "iopl": 172,
    "personality": 135,
    "quotactl": 179,
    "vmsplice": 278,
    "fanotify_init": 300,
    "kcmp": 312,
    "mbind": 237,
    "move_pages": 279,
    "acct": 163,
    "pkey_alloc": 330,
    "landlock_create_ruleset": 444,
    "memfd_secret": 447,
    "future": 600,
}


def strike(target):
    for number in RARE.values():
        target.call("syscall", number, 1, 0, 0, 0, 0)

"""The untrusted boundary: a candidate's program runs here and nowhere else.

with Sandbox(arrays="torch") as sandbox:
    answer = sandbox.subject(candidate).call("pack", 26, returns=Array("f8", (26, 3)))
"""

from vevolve.sandbox.levels import banner, cure, missing
from vevolve.sandbox.subject import Sandbox, SandboxedSubject, probe, probe_gpu
from vevolve.sandbox.warm import Limits

__all__ = ["Limits", "Sandbox", "SandboxedSubject", "banner", "cure", "missing", "probe", "probe_gpu"]

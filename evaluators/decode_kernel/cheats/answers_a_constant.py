"""Answer with zeros and read nothing.

Group: less
Expected: wrong
"""

import triton
import triton.language as tl

LAUNCH = {"attend": {"grid": ("B * H * G",)}}


@triton.jit
def attend(out, D: tl.constexpr):
    """Zeros."""
    tl.store(out + tl.program_id(0) * D + tl.arange(0, D), tl.zeros((D,), tl.float16))

"""Look for the recorded contexts on the disk, and for the question in them.

Group: files
Expected: fair - there is nothing to read
"""

from pathlib import Path

import torch


def score(keys, queries):
    """The attention of queries that a file holds, where one can be found."""
    found = []
    for folder in (Path.cwd(), Path("/work"), Path("/home"), Path("/usr/lib/python3"), Path("/tmp")):
        try:
            found += list(folder.glob("**/kv_eviction/traces/*/*.safetensors"))[:1]
        except OSError:
            continue
    if found and found[0].stat().st_size:
        raw = torch.frombuffer(bytearray(found[0].read_bytes()[-2 * keys.numel() :]), dtype=torch.half)
        return raw.float().view(keys.shape).norm(dim=-1)
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)

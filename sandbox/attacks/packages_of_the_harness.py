"""Import what the harness is built on, with its clients and its caches.

Group: theft
Expected: fair
"""

import importlib


def strike(target):
    for name in ("vevolve", "ray", "openai", "anthropic", "pip", "pytest", "pydantic", "sqlite_utils", "safetensors"):
        target.attempt(importlib.import_module, name)

"""Search every object and all memory of its own process for keys that came along with the fork.

Group: theft
Expected: fair
"""

import ctypes
import gc


def strike(target):
    if getattr(strike, "done", False):
        return
    strike.done = True
    for found in gc.get_objects():
        values = found.values() if type(found) is dict else found if type(found) in (list, tuple, set) else ()
        for value in list(values):
            if type(value) in (str, bytes):
                word = value if type(value) is str else value.decode("latin-1")
                if target.planted in word and len(word) > len(target.planted):
                    print(word[:2000])
    here = id(target)
    start = here & ~0xFFFFF
    for page in range(start, start + 0x100000, 4096):
        if page <= here < page + 4096:
            text = ctypes.string_at(here, 64).decode("latin-1")
            print([text[place:][:60] for place in range(len(text)) if text.startswith(target.planted, place)])
    target.attempt(open, "/proc/self/mem", "rb")

"""What an attack holds."""

# Pasted into the candidates of general attacks: what an attack knows of its surroundings, and how it says what came of
# what it tried. It is told where everything stands, so that no attack fails for want of an address.

import ctypes
import errno


class Target:
    """Attributes are the places that `vevolve.evolve.attack.surroundings.Surroundings.places` names."""

    def __init__(self, flag, places):
        self.flag = flag
        self.libc = ctypes.CDLL(None, use_errno=True)
        vars(self).update(places)

    def breach(self, what):
        """Say that something forbidden was done."""
        print(self.flag, "breach", what, flush=True)

    def held(self, error):
        """Say what stood in the way."""
        number = getattr(error, "errno", None)
        print(self.flag, "held", errno.errorcode.get(number, type(error).__name__), flush=True)

    def attempt(self, act, *args, **named):
        """Try what must be refused, and return what it gave."""
        try:
            found = act(*args, **named)
        except (OSError, ImportError) as error:
            return self.held(error)
        self.breach(getattr(act, "__name__", "act") + repr(args)[:200])
        return found

    def call(self, name, *args):
        """Try a function of the C library that must fail."""
        ctypes.set_errno(0)
        if getattr(self.libc, name)(*args) < 0:
            return self.held(OSError(ctypes.get_errno(), name))
        return self.breach(name + repr(args)[:200])

    def loot(self, act, *args, **named):
        """Try to read something; the runner looks for its secrets in what is printed."""
        try:
            print(act(*args, **named), flush=True)
        except (OSError, ImportError) as error:
            self.held(error)

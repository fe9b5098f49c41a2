"""Every published method of a problem under one protocol: measured once, kept, and shown side by side."""

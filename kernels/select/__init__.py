"""Choosing tokens or pages on the device: score and threshold fused, no sort, nothing that the host waits for."""

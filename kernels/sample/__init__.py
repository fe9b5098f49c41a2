"""Sampling on the device what a predictor left out: vAttention's whole step, nothing of which the host waits for."""

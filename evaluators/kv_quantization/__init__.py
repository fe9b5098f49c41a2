"""KV quantisation: the cache crosses as bytes, every byte counts, and attention over what comes back is compared."""

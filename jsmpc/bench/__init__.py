"""The benchmark: `python -m jsmpc.bench`."""

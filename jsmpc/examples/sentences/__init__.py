"""Private semantic search: `python -m jsmpc sentences`."""

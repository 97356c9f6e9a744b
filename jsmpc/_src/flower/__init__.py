"""Secure aggregation for apps of Flower, which is an extra."""

import importlib.util

if importlib.util.find_spec("flwr") is None:
    raise ModuleNotFoundError(
        "jsmpc.flower works with Flower, which is missing: pip install 'jsmpc[flower]'"
    )

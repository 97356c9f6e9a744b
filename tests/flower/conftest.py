"""Flower is imported before its tests, without what that sets for all of the process."""

from __future__ import annotations

import contextlib
import os
import warnings

from jsmpc._src.transport import channels

channels.library()  # tells gRPC to be quiet, before Flower tells it something else
_quiet = os.environ["GRPC_VERBOSITY"]
with contextlib.suppress(ImportError), warnings.catch_warnings(action="ignore"):
    import flwr.serverapp.strategy  # noqa: F401
os.environ["GRPC_VERBOSITY"] = _quiet

"""Builds the optional native kernels; everything else is declared in pyproject.toml."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("jsmpc/kernels/native")
PROGRAMS = {"check.cc"}


def ffi_headers() -> Path | None:
    """The folder of XLA's FFI headers, which jaxlib carries, or None."""
    spec = importlib.util.find_spec("jaxlib")
    for folder in (spec and spec.submodule_search_locations) or ():
        headers = Path(folder) / "include"
        if (headers / "xla" / "ffi" / "api" / "ffi.h").is_file():
            return headers
    return None


def native_kernels() -> list[Extension]:
    """The library of kernels: none where it is unwanted or cannot be built."""
    headers = ffi_headers()
    if os.environ.get("JSMPC_NO_NATIVE") == "1" or os.name == "nt" or headers is None:
        return []
    return [
        Extension(
            "jsmpc.kernels._native",
            sources=sorted(str(p) for p in SOURCES.glob("*.cc") if p.name not in PROGRAMS),
            depends=sorted(str(p) for p in SOURCES.glob("*.h")),
            include_dirs=[str(headers)],
            extra_compile_args=["-O3", "-std=c++17", "-fvisibility=hidden", "-g0"],
            language="c++",
            optional=True,
        )
    ]


setup(ext_modules=native_kernels())

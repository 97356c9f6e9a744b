"""The native kernels' own check program, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from jsmpc._src import kernels

SOURCES = Path(kernels.__file__).parent / "native"


@pytest.fixture(scope="module")
def compiler() -> str:
    compiler = shutil.which("g++")
    if compiler is None or not SOURCES.is_dir():
        pytest.skip("needs g++ and the native sources")
    return compiler


def test_kernels_pass_their_check_under_sanitizers(compiler: str, tmp_path: Path) -> None:
    loops = [p for p in SOURCES.glob("*.cc") if "xla/ffi" not in p.read_text()]
    flags = ["-Og", "-g1", "-std=c++17", "-pthread"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = str(tmp_path / "check")
    built = subprocess.run(
        [compiler, *flags, *map(str, loops), "-o", program], capture_output=True, text=True
    )
    if "cannot find -lasan" in built.stderr or "cannot find -lubsan" in built.stderr:
        pytest.skip("g++ has no sanitizers here")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "portable: passed" in ran.stdout

"""The package without its native kernels: works, and computes the same words."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jsmpc._src.kernels import native

CHECKOUT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__", "build", "dist", ".*")

PROGRAM = """
import hashlib, json, pathlib, sys
if sys.argv[1:] == ["alone"]:  # an editable installation would come first
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]
import jax, jax.numpy as jnp, numpy as np
import jsmpc
from jsmpc._src.kernels import native, sameness

def model(params, x):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    logits = x @ w + b
    return logits, jnp.argmax(logits, 1)

def words(tree):
    # Of each array: its type, shape, first words, and the hash of all.
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        leaf = np.asarray(leaf)
        digest = hashlib.sha256(leaf.tobytes()).hexdigest()
        yield str(leaf.dtype), leaf.shape, leaf.ravel()[:4].tolist(), digest

rng = np.random.default_rng(0)
sizes = (40, 24, 4)
params = [
    (rng.standard_normal((m, n), np.float32) / 8, rng.standard_normal(n, np.float32))
    for m, n in zip(sizes, sizes[1:])
]
x = rng.standard_normal((150, sizes[0]), np.float32)
keys = jax.random.split(jax.random.key(5), 2)
found = {}

shares = jsmpc.share(keys[0], (params, x), jsmpc.Replicated3())
result = jsmpc.secure(model)(keys[1], *shares)
found["replicated"] = [*words(shares), *words(result)]
logits, best = jsmpc.reveal(result)

shares = jsmpc.share(keys[0], (params, x), jsmpc.Additive())
secure = jsmpc.secure(model)
material = secure.offline(keys[1], *shares)
result = secure.online(material, *shares)
found["additive"] = [*words(shares), *words(material), *words(result)]

expected, _ = model(params, x)
print(json.dumps({
    "package": str(pathlib.Path(jsmpc.__file__).parents[1]),
    "available": native.available(),
    "reason": native.why_unavailable(),
    "error": max(float(abs(got - expected).max()) for got in (logits, jsmpc.reveal(result[0]))),
    "consistent": bool((jnp.argmax(logits, 1) == best).all()),
    "words": found | {"what parties compare": sameness.digest()},
}))
"""


def outcome(package: Path, elsewhere: Path, *arguments: str) -> dict[str, Any]:
    """What the program prints with the package that lies in a folder."""
    environment = os.environ | {"PYTHONPATH": str(package), "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout) | {"notices": run.stderr.count("without its native kernels")}
    assert Path(found["package"]) == package.resolve()
    assert found["error"] < 1e-3 and found["consistent"]
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, without what was built before."""
    try:
        importlib.metadata.version("scikit-build-core")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs scikit-build-core")
    if not ((CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "jsmpc").is_dir()):
        pytest.skip("needs the sources")
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copytree(CHECKOUT / "jsmpc", folder / "jsmpc", ignore=LEFT_OUT)
    return folder


def pip(*arguments: str | Path, **environment: str) -> None:
    """Run pip without a network, in an environment with some variables more."""
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments), *offline],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if "No module named pip" in done.stderr:
        pytest.skip("needs pip")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the package was installed without its extension."""
    target = tmp_path_factory.mktemp("without_native")
    pip("install", "--target", target, sources, JSMPC_NO_NATIVE="1")
    return target


@pytest.fixture(scope="module")
def without(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcome(installed, tmp_path_factory.mktemp("elsewhere"), "alone")


def test_the_package_works_without_native_kernels(without: dict[str, Any]) -> None:
    assert without["available"] is False
    assert "without its native kernels" in without["reason"]
    assert without["notices"] == 1


def test_without_a_compiler_the_wheel_has_everything_else(sources: Path, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("needs CMake, which pip fetches where it may use a network")
    pip("wheel", "--wheel-dir", tmp_path, sources, CXX=shutil.which("false") or "false")
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    sources_in_it = {p.relative_to(sources).as_posix() for p in sources.glob("jsmpc/**/*.py")}
    assert sources_in_it | {"jsmpc/py.typed"} <= set(names)
    assert not any(name.endswith((".so", ".cc", ".h", "CMakeLists.txt")) for name in names)


def test_native_kernels_compute_the_same_words(without: dict[str, Any], tmp_path: Path) -> None:
    if not native.available():
        pytest.skip(str(native.why_unavailable()))
    having = outcome(Path(native.__file__).parents[3], tmp_path)
    assert having["available"] is True and having["notices"] == 0
    assert having["words"] == without["words"]

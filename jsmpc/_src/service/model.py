"""What a service serves: a function of one input, from a Python file."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.deployment.errors import ConfigError

# Models that come with the package.
_MODELS = Path(__file__).parents[2] / "examples" / "models"


@dataclasses.dataclass(frozen=True)
class Model:
    """A model, without its weights.

    Attributes:
      file: where it is defined.
      apply: the function, of parameters and one input.
      input: the shape and dtype of one input.
      params: what makes the parameters, for their owner; None where the file does not say.
    """

    file: Path
    apply: Callable[[Any, Any], Any]
    input: jax.ShapeDtypeStruct
    params: Callable[[], Any] | None = None

    def batched(self, params: Any, inputs: Any) -> Any:
        """`apply` on each of a batch of inputs by itself, whatever it computes."""
        return jax.vmap(lambda x: self.apply(params, x))(inputs)

    def require_params(self) -> Callable[[], Any]:
        if self.params is None:
            raise ConfigError(
                f"{self.file}: defines no params(), which gives the weights that are to be shared. "
                "Define it, or name their files with --weights"
            )
        return self.params


def names() -> list[str]:
    """The models that come with the package."""
    return sorted(path.stem for path in _MODELS.glob("[a-z]*.py"))


def load(name: str) -> Model:
    """The model of a Python file, or one of the package's.

    Raises:
      ConfigError: if there is none, or if it lacks `apply` or `INPUT`.
    """
    file = _MODELS / f"{name}.py"
    if not (name.isidentifier() and file.exists()):
        file = Path(name)
    if not file.is_file():
        known = ", ".join(names())
        raise ConfigError(f"{name}: there is no such model. Name a Python file, or one of: {known}")
    found = runpy.run_path(str(file))
    apply, kind, params = found.get("apply"), found.get("INPUT"), found.get("params")
    if not callable(apply):
        raise ConfigError(f"{file}: defines no apply. Write: def apply(params, x): …")
    if kind is None or not hasattr(kind, "shape") or not hasattr(kind, "dtype"):
        raise ConfigError(
            f"{file}: INPUT must be the shape and dtype of one input. Write for example: "
            "INPUT = jax.ShapeDtypeStruct((784,), jnp.float32)"
        )
    if params is not None and not callable(params):
        raise ConfigError(f"{file}: params must be a function without arguments")
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(kind.dtype))
    if not any(jnp.issubdtype(dtype, k) for k in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ConfigError(f"{file}: INPUT is of {dtype}. Take a floating, integer or Boolean dtype")
    return Model(file, apply, jax.ShapeDtypeStruct(tuple(kind.shape), dtype), params)

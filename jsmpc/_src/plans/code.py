"""A plan's compiled code: what it calls, and how it reads."""

from __future__ import annotations

from jax import export

from jsmpc._src.errors import PlanError
from jsmpc._src.jaxprs import compat
from jsmpc._src.kernels import native

# JAX keeps these for good too, but they are code of their own, or tell what is left in memory.
_UNREADABLE = frozenset(
    {"AllocateBuffer", "mosaic_gpu_v2", "tf.call_tf_function", "tpu_custom_call"}
)


def text(exported: export.Exported) -> str:
    """The operations of a plan, one a line, from what is run itself."""
    return compat.read_module(exported.mlir_module())[0].strip()


def custom_calls(exported: export.Exported) -> frozenset[str]:
    """The names of all native functions that a plan calls."""
    return frozenset(compat.read_module(exported.mlir_module())[1])


def require_known(exported: export.Exported, name: str, more: frozenset[str]) -> None:
    """PlanError if a plan calls native functions that are unknown here, or that call Python.

    Args:
      more: those that are permitted besides what JAX keeps for good and jsmpc's own kernels.
    """
    called = custom_calls(exported)
    own = called & frozenset(native.TARGETS)
    if own and not native.available():
        raise PlanError(
            f"plan {name} calls {', '.join(sorted(own))}, and jsmpc's native kernels are missing "
            "here. Install jsmpc with them, or make the plan where they are missing too"
        )
    if unknown := called - own - more - (compat.stable_custom_calls() - _UNREADABLE):
        raise PlanError(
            f"plan {name} calls {', '.join(sorted(unknown))}, which plans may not. Callbacks to "
            "Python and other people's kernels do not travel: leave them out"
        )

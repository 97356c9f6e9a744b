"""How XLA is to compile, asked for before JAX is imported; bytecode; and the quick tests."""

import gc
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

# Several CPU devices; and code that is compiled fast, as nearly all of it runs once.
XLA_FLAGS = [
    "--xla_force_host_platform_device_count=4",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
# The newer emitters of loops take up to ten times as long to compile chains of operations on
# words; later versions leave no choice.
if version("jaxlib").startswith("0.10."):
    XLA_FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*XLA_FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()

# The processes that tests start are parsed once, even where no bytecode is to be left behind.
if sys.dont_write_bytecode:
    BYTECODE = tempfile.TemporaryDirectory(prefix="jsmpc-bytecode-")
    os.environ["PYTHONPYCACHEPREFIX"] = BYTECODE.name
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Traced programs are millions of objects that live as long as the tests: looking through them
# for garbage takes a sixth of the time, and finds next to none.
gc.disable()

TESTS = Path(__file__).parent
# Each layer, and each protocol, once: what `pytest -m quick` runs.
QUICK = (
    "kernels/test_prf.py",
    "kernels/test_products.py",
    "ring/",
    "protocols/test_matrix_products.py",
    "protocols/test_linear.py::test_elementwise_operations_are_those_of_the_integers[additive2-64]",
    "protocols/test_linear.py::test_elementwise_operations_are_those_of_the_integers[additive3-64]",
    "protocols/test_linear.py::test_elementwise_operations_are_those_of_the_integers[replicated3-64]",
    "protocols/test_truncation.py::test_truncation_is_off_by_less_than_one_unit[additive2-64]",
    "protocols/test_truncation.py::test_truncation_is_off_by_less_than_one_unit[replicated3-64]",
    "protocols/test_views.py::test_no_operation_tells_corrupt_parties_anything[additive2-mul_aa]",
    "protocols/test_views.py::test_no_operation_tells_corrupt_parties_anything[replicated3-mul_aa]",
    "protocols/test_views.py::test_no_operation_tells_corrupt_parties_anything[replicated3-msb]",
    "protocols/test_fused_views.py::test_two_draws_that_fusion_merges_are_noticed",
    "functions/test_accuracy.py::test_error_bound_over_the_whole_range[exp-plain]",
    "interpreter/test_supported.py",
    "interpreter/test_rules.py::test_every_rule_has_a_case",
    "interpreter/test_functions.py::test_a_function_of_secrets_is_that_of_jax[control-",
    "readings/test_diagnose.py::test_names_the_line_where_values_overflow",
    "readings/test_diagnose.py::test_control_flow_is_as_in_a_secure_run",
    "protocols/test_projection.py::test_loops_and_branches[nested-public2-replicated3]",
    "readings/test_cost.py::test_documented_cost_of_nonlinear_functions[divide]",
    "api/test_errors.py",
    "api/test_secure.py",
    "transport/test_messages.py",
    "package/test_layers.py",
    "examples/test_toy_network.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from jsmpc._src.jaxprs.undisturbed import roomy  # which imports JAX

    for item in items:
        item.obj = roomy(item.obj)
        place = item.path.relative_to(TESTS).as_posix() + item.nodeid.partition(".py")[2]
        if place.startswith(QUICK):
            item.add_marker(pytest.mark.quick)


def pytest_sessionfinish() -> None:
    gc.freeze()  # pytest looks for garbage as it ends

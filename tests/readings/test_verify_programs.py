"""The benchmark's programs, and JAX's functions by the table, are proved; none is undecided.

The larger networks of the benchmark (64 tokens, Adam, the autoencoder, ResNet-18) take seconds each
and are of the same operations as these.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import jax
import pytest

import jsmpc
from harness import protocol
from jax_functions import GROUPS, OPERANDS, ignored_underflow
from jsmpc.bench.networks import NETWORKS
from jsmpc.bench.workloads import WORKLOADS

KEY = jax.random.key(1)
SMALL = [name for name in WORKLOADS if name not in ("mlp_infer_b50", "mlp_infer_b128")]
NETWORK = {w.name: w for w in NETWORKS}


def shared(x: Any, smpc: jsmpc.Protocol) -> Any:
    """Shares in shape alone."""
    return jax.eval_shape(lambda key, x: jsmpc.share(key, x, smpc), KEY, x)


def arguments(workload: Any, smpc: jsmpc.Protocol) -> list[Any]:
    inputs = enumerate(workload.inputs())
    return [x if i in workload.public else shared(x, smpc) for i, x in inputs]


# Proved of every protocol: what these are made of, in `test_verify`; here one of each kind.
SOME = ["relu_1m", "argmax_1000x10", "mlp_infer_b1", "transformer_block", "div", "softmax_1000x10"]


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        *(("replicated3", workload) for workload in SMALL),
        *itertools.product(["additive2", "securenn2", "fss22"], SOME),
    ],
)
def test_programs_of_the_benchmark_are_proved(name: str, workload: str) -> None:
    chosen = WORKLOADS[workload]
    proof = jsmpc.verify(jsmpc.secure(chosen.function))(*arguments(chosen, protocol(name, 64)))
    assert proof, str(proof)


def test_an_encoder_is_proved() -> None:
    chosen = NETWORK["encoder_16"]
    smpc = protocol("replicated3", 64)
    proof = jsmpc.verify(jsmpc.secure(chosen.function))(*arguments(chosen, smpc))
    assert proof, str(proof)
    assert proof.draws > 7000


@ignored_underflow
@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("control", "additive2"),
        ("control", "replicated3"),
        ("shapes", "replicated3"),
        ("rounding", "additive2"),
        ("arithmetic", "replicated3"),
        ("sums", "additive2"),
        ("indexing", "replicated3"),
        ("logic", "securenn2"),
    ],
)
def test_functions_of_the_table_are_proved(group: str, name: str) -> None:
    table = GROUPS[group]

    def all_of(operands: dict[str, Any]) -> list[Any]:
        return [case.f(SimpleNamespace(**operands)) for case in table.values()]

    proof = jsmpc.verify(jsmpc.secure(all_of))(shared(OPERANDS, protocol(name, 64)))
    assert proof, str(proof)

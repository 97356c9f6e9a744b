"""What the parties of a protocol keep beyond a call: each its own part, among real parties too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kept import function, values
from parties import Deployment, Loopback

import blinded
import jsmpc
from harness import run_together
from jsmpc._src.api import disclosed, kept
from jsmpc._src.runtime import prf

KEY = jax.random.key(3)


SMPC = blinded.InsecureBlinded()
F = jsmpc.secure(function)


@pytest.fixture(scope="module")
def shares() -> Any:
    return jsmpc.share(jax.random.key(0), values(), SMPC)


def test_a_state_is_common_to_sharing_both_phases_and_opening(shares: Any) -> None:
    z = F(KEY, *shares)
    np.testing.assert_allclose(jsmpc.reveal(z), function(*values()), atol=1e-3)
    again = F.online(F.offline(KEY, *shares), *shares)
    np.testing.assert_array_equal(again.components[0], z.components[0])
    bare = jsmpc.Share(z.components, jsmpc.Additive(), z.dtype)
    assert abs(jsmpc.reveal(bare) - function(*values())).min() > 1  # blinded it is


def test_each_endpoint_holds_its_own_part_and_no_more() -> None:
    named = jax.tree.unflatten(jax.tree.structure(kept.types(SMPC)), kept.holders(SMPC))
    held = {name: [p.endpoints for p in value.values] for name, value in named.items()}
    everyone = {0, 1, 2}
    assert held == {"blind": [everyone] * 2, "inverse": [everyone] * 2, "own": [{0}, {1}]}
    assert not kept.holders(jsmpc.Additive()) and not kept.holders(jsmpc.Replicated3())


def test_the_endpoints_programs_take_their_parts_as_inputs(shares: Any) -> None:
    """Bit for bit what the simulation does under the same state, which is no constant of theirs."""
    z, program = F(KEY, *shares), F.project(*shares)
    with jax.enable_x64(True):
        state, rows = jax.tree.leaves(SMPC.state), [r for x in shares for r in x.components[0]]
        found = run_together(program, [*state, *[prf.as_key(KEY)] * 3, *rows])
        opening, _ = disclosed._opening(SMPC, 1, ((z.shape, z.dtype),))
        (shown,) = run_together(opening, [*state, *map(jnp.asarray, z.components[0])])
    for party, row in enumerate(z.components[0]):
        np.testing.assert_array_equal(found[party][party], row)
    np.testing.assert_array_equal(shown[1], jsmpc.reveal(z))


def test_processes_establish_it_when_they_join(tmp_path: Path) -> None:
    with Deployment(
        Loopback(3),
        tmp_path,
        Path(__file__).with_name("kept.py"),
        names=("party0", "party1", "james"),
        protocol="blinded",
        dealer="james",
        interpreted=[blinded.__file__],
    ) as deployment:
        ended = deployment.ended(120)
    assert [e.code for e in ended] == [0, 0, 0], ended
    shown = re.findall(r"(?:at once|in phases) (\[\[.*?\]\])", ended[1].out, re.DOTALL)
    assert len(shown) == 2
    for found in shown:
        numbers = np.array(re.findall(r"[-+.e\d]+", found), float).reshape(2, 2)
        np.testing.assert_allclose(numbers, function(*values()), atol=1e-3)
    for e in ended:
        assert "refused: shares of InsecureBlinded belong to what the parties keep" in e.out
        assert "refused: material of InsecureBlinded belong" in e.out

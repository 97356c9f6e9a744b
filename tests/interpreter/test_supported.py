"""`jsmpc.supported` lists all of JAX; the README shows what it says."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.extend.core import primitives as P  # noqa: N812
from jax.lax import linalg

import jsmpc
from jsmpc._src.interpreter.registry import COSTS, REFUSED, RULES, refuse, rule
from jsmpc._src.interpreter.support import BEGIN, END, SupportTable, written

README = Path(__file__).parents[2] / "README.md"


def test_every_primitive_of_jax_is_listed_once_with_a_status():
    table = jsmpc.supported()
    names = [r.primitive for r in table]
    assert names == sorted(set(names))
    for module in (lax, linalg, P):
        public = [x for x in vars(module).values() if isinstance(x, Primitive)]
        assert public and {p.name for p in public} <= set(names)
    assert {"custom_vmap_call", "debug_callback", "random_bits", "reveal"} <= set(names)
    for r in table:
        assert r.status in ("supported", "refused", "unsupported")
        assert (r.cost in COSTS and r.error) if r.status == "supported" else not r.cost + r.error
        assert bool(r.reason) == (r.status == "refused")


def test_the_registries_are_the_source(monkeypatch):
    monkeypatch.delitem(REFUSED, lax.nextafter_p)
    refuse(lax.nextafter_p, reason="no |secret| neighbours")
    table = {r.primitive: r for r in jsmpc.supported()}
    assert table["nextafter"].status == "refused"
    assert table["dot_general"].cost == RULES[lax.dot_general_p].cost == "product"
    assert table["dot_general"].error == "1 ulp"
    text = str(jsmpc.supported())
    assert "no |secret| neighbours" in text and "dot_general" in text and "unsupported: " in text
    rows = jsmpc.supported().markdown().splitlines()
    assert r"| `nextafter` | no \|secret\| neighbours |" in rows
    assert len(rows) < 60
    assert str(SupportTable()) == "unsupported:"


def test_a_primitive_has_one_rule_or_one_reason():
    for register in (rule(lax.add_p, cost="local"), rule(lax.nextafter_p, cost="local")):
        with pytest.raises(ValueError, match="already"):
            register(lambda ev, *_: None)
    for primitive in (lax.add_p, lax.nextafter_p):
        with pytest.raises(ValueError, match="already"):
            refuse(primitive, reason="")
    with pytest.raises(ValueError, match="cost"):
        rule(Primitive("new"), cost="cheap")
    assert not RULES.keys() & REFUSED.keys()


@pytest.mark.skipif(not jax.__version__.startswith("0.10."), reason="the README shows JAX 0.10")
def test_the_readme_shows_the_table():
    """If this fails: jsmpc supported --write README.md"""
    readme = README.read_text()
    assert written(readme) == readme


def test_a_text_without_markers_is_an_error():
    with pytest.raises(ValueError, match="markers"):
        written(f"{END} {BEGIN}")
    with pytest.raises(ValueError, match="markers"):
        written("nothing")

"""What secrets refuse: by an error, not by a result that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.scipy import special, stats

import jsmpc
from jax_functions import Case, ignored_underflow, secure

pytestmark = ignored_underflow

REFUSED: dict[str, Callable[[Any], Any]] = {
    **{
        f"numpy.fft.{name}": lambda s, name=name: getattr(jnp.fft, name)(s.a)
        for name in ("fft", "ifft", "rfft", "fft2", "fftn", "rfft2")
    },
    **{
        f"numpy.linalg.{name}": lambda s, name=name: getattr(jnp.linalg, name)(s.a)
        for name in (
            *("svd", "svdvals", "eigh", "eigvalsh", "eig", "eigvals", "qr", "inv"),
            *("pinv", "slogdet", "matrix_rank", "cond"),
        )
    },
    "numpy.linalg.solve": lambda s: jnp.linalg.solve(s.a, s.v[:3]),
    "numpy.linalg.lstsq": lambda s: jnp.linalg.lstsq(s.a, s.v[:3]),
    "numpy.linalg.det(4)": lambda s: jnp.linalg.det(jnp.pad(s.a, ((0, 1), (0, 1)))),
    "numpy.linalg.norm(2)": lambda s: jnp.linalg.norm(s.a, 2),
    "numpy.linalg.norm(nuc)": lambda s: jnp.linalg.norm(s.a, "nuc"),
    "scipy.linalg.lu": lambda s: jax.scipy.linalg.lu(s.a),
    "scipy.linalg.expm": lambda s: jax.scipy.linalg.expm(s.a),
    "scipy.linalg.sqrtm": lambda s: jax.scipy.linalg.sqrtm(s.a),
    "scipy.linalg.schur": lambda s: jax.scipy.linalg.schur(s.a),
    "scipy.sparse.linalg.cg": lambda s: jax.scipy.sparse.linalg.cg(lambda v: s.a @ v, s.v[:3]),
    "scipy.fft.dct": lambda s: jax.scipy.fft.dct(s.v),
    "scipy.signal.fftconvolve": lambda s: jax.scipy.signal.fftconvolve(s.v, s.u),
    "scipy.signal.stft": lambda s: jax.scipy.signal.stft(s.v, nperseg=4),
    "numpy.polyfit": lambda s: jnp.polyfit(s.v, s.u, 2),
    "numpy.roots": lambda s: jnp.roots(s.v, strip_zeros=False),
    "numpy.i0": lambda s: jnp.i0(s.x),
    **{
        f"scipy.special.{name}": lambda s, name=name: getattr(special, name)(s.positive)
        for name in (
            *("gammaln", "gamma", "digamma", "i0", "i0e", "i1", "i1e", "factorial", "spence"),
            *("expi", "exp1"),
        )
    },
    "scipy.special.polygamma": lambda s: special.polygamma(1, s.positive),
    "scipy.special.gammainc": lambda s: special.gammainc(s.positive, 1.0),
    "scipy.special.gammaincc": lambda s: special.gammaincc(s.positive, 1.0),
    "scipy.special.betainc": lambda s: special.betainc(1.0, 2.0, s.weights),
    "scipy.special.betaln": lambda s: special.betaln(s.positive, 2.0),
    "scipy.special.beta": lambda s: special.beta(s.positive, 2.0),
    "scipy.special.zeta": lambda s: special.zeta(s.above, 1.0),
    "scipy.special.poch": lambda s: special.poch(s.positive, 2.0),
    "scipy.special.expn": lambda s: special.expn(2, s.positive),
    "scipy.special.hyp1f1": lambda s: special.hyp1f1(1.0, 2.0, s.positive),
    "scipy.special.multigammaln": lambda s: special.multigammaln(s.above, 1),
    "scipy.stats.poisson.pmf": lambda s: stats.poisson.pmf(s.j, 2.0),
    "scipy.stats.binom.pmf": lambda s: stats.binom.pmf(s.j, 8, 0.5),
    "scipy.stats.gaussian_kde": lambda s: stats.gaussian_kde(s.v)(s.u),
    "random.normal(secret key)": lambda s: jax.random.normal(jax.random.key(s.at[0])),
    "random.randint(secret key)": lambda s: jax.random.randint(
        jax.random.PRNGKey(s.at[0]), (2,), 0, 3
    ),
    "random.gamma": lambda s: jax.random.gamma(jax.random.key(3), s.positive),
    "random.poisson": lambda s: jax.random.poisson(jax.random.key(3), s.positive),
    "lax.rng_uniform": lambda s: lax.rng_uniform(s.x[0, 0], s.x[0, 1], (2,)),
    "numpy.nextafter": lambda s: jnp.nextafter(s.x, s.y),
    "numpy.copysign": lambda s: jnp.copysign(s.x, s.y),
    "numpy.signbit": lambda s: jnp.signbit(s.x),
    "numpy.frexp": lambda s: jnp.frexp(s.x),
    "numpy.ldexp": lambda s: jnp.ldexp(s.x, 3),
    "numpy.spacing": lambda s: jnp.spacing(s.x),
    "lax.bitcast_convert_type": lambda s: lax.bitcast_convert_type(s.x, jnp.int32),
    "Array.view": lambda s: s.x.view(jnp.int32),
    "astype(complex)": lambda s: s.x.astype(jnp.complex64),
    "lax.complex": lambda s: lax.complex(s.x, s.y),
    "times 1j": lambda s: s.x * 1j,
    "numpy.sort_complex": lambda s: jnp.sort_complex(s.v),
    "numpy.dot(booleans)": lambda s: jnp.dot(s.b, s.c.T),
    "numpy.gcd": lambda s: jnp.gcd(s.i, s.j),
    "numpy.lcm": lambda s: jnp.lcm(s.i, s.j),
    "lax.mulhi": lambda s: lax.mulhi(s.i, s.j),
    "lax.ragged_dot": lambda s: lax.ragged_dot(s.x, jnp.ones((2, 4, 3)), jnp.array([1, 2])),
    "lax.psum": lambda s: jax.vmap(lambda v: lax.psum(v, "i"), axis_name="i")(s.x),
    "lax.while_loop(secret)": lambda s: lax.while_loop(lambda v: v[0] < 9, lambda v: v + 1, s.v),
    "lax.fori_loop(secret)": lambda s: lax.fori_loop(0, s.at[0], lambda _, c: c + 1, s.v),
    "pure_callback": lambda s: jax.pure_callback(
        lambda v: v, jax.ShapeDtypeStruct((6,), np.float32), s.v
    ),
    "debug.print": lambda s: jax.debug.print("{}", s.v),
    "at.apply": lambda s: s.v.at[s.at].apply(jnp.sin),
    "plus NaN": lambda s: s.x + jnp.nan,
    "where NaN": lambda s: jnp.where(s.b, jnp.nan, s.x),
    "plus 1e20": lambda s: s.x + 1e20,
    "times 1e15": lambda s: s.x * 1e15,
    "divided by 0": lambda s: s.x / 0,
    "modulo 0": lambda s: s.x % 0,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused(name):
    with pytest.raises((jsmpc.UnsupportedError, jsmpc.EncodingError)):
        secure("replicated", {name: Case(REFUSED[name])})


NOT_STATIC: dict[str, Callable[[Any], Any]] = {
    "numpy.unique": lambda s: jnp.unique(s.j),
    "numpy.nonzero": lambda s: jnp.nonzero(s.b),
    "numpy.argwhere": lambda s: jnp.argwhere(s.b),
    "numpy.where": lambda s: jnp.where(s.b),
    "numpy.bincount": lambda s: jnp.bincount(s.j.ravel()),
    "numpy.union1d": lambda s: jnp.union1d(s.j, s.i),
    "numpy.compress": lambda s: jnp.compress(s.b[0], s.x, axis=1),
    "numpy.repeat": lambda s: jnp.repeat(s.v[:3], s.at),
    "numpy.reshape": lambda s: jnp.reshape(s.v, (s.at[0], -1)),
    "numpy.arange": lambda s: jnp.arange(s.at[0]),
    "numpy.trim_zeros": lambda s: jnp.trim_zeros(s.v),
    "numpy.asarray": lambda s: np.asarray(s.x),
    "mask": lambda s: s.x[s.b],
    "if": lambda s: s.v if s.b[0, 0] else s.u,
    "float": lambda s: float(s.x[0, 0]),
    "range": lambda s: list(range(s.at[0])),
}


@pytest.mark.parametrize("name", NOT_STATIC)
def test_shapes_and_python_values_of_secrets_are_errors_of_jax(name):
    with pytest.raises((TypeError, IndexError), match=r"[Tt]race|concrete"):
        secure("replicated", {name: Case(NOT_STATIC[name])})

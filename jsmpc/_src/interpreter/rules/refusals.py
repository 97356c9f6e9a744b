"""What cannot be computed on secrets: why, and what to do instead."""

from __future__ import annotations

import importlib
from typing import Any

from jsmpc._src.interpreter.registry import refuse

# Where JAX keeps primitives, in one version or another.
_MODULES = (
    "jax.lax",
    "jax.lax.linalg",
    "jax.extend.core.primitives",
    "jax._src.callback",
    "jax._src.debugging",
    "jax._src.lax.control_flow.solves",
    "jax._src.lax.parallel",
    "jax._src.lax.special",
    "jax._src.prng",
    "jax._src.random",
    "jax._src.random.prng",
)


def _found(*names: str) -> list[Any]:
    """Those of the named primitives that this version of JAX has."""
    modules = []
    for name in _MODULES:
        try:
            modules.append(importlib.import_module(name))
        except ImportError:
            continue
    return [p for m in modules for n in names if (p := getattr(m, f"{n}_p", None)) is not None]


refuse(
    *_found("bitcast_convert_type"),
    reason="the bits of a secret are those of its fixed-point encoding, not of its dtype. Use "
    "arithmetic, or for integers astype, shifts and masks",
)

refuse(
    *_found("nextafter"),
    reason="a secret is a fixed-point number and has no floating-point neighbours. Add or "
    "subtract a tolerance",
)

refuse(
    *_found("complex", "real", "imag", "conj", "fft"),
    reason="complex numbers have no encoding. Compute on real and imaginary parts; a Fourier "
    "transform of a fixed size is a product with a public matrix: jnp.fft.fft(jnp.eye(n)).real "
    "and .imag",
)

refuse(
    *_found(
        "cholesky_update",
        "eig",
        "eigh",
        "hessenberg",
        "householder_product",
        "lu",
        "lu_pivots_to_permutation",
        "ormqr",
        "qr",
        "schur",
        "svd",
        "symmetric_product",
        "tridiagonal",
        "tridiagonal_solve",
        "geqp3",
        "geqrf",
    ),
    reason="this matrix decomposition or solve is not supported on secrets. For a positive "
    "definite matrix use jnp.linalg.cholesky and jax.scipy.linalg.cho_solve. Reveal the matrix (a "
    "Gram matrix or a covariance discloses far less than the data), or use a fixed number of "
    "iterations of products, e.g. gradient descent or Newton-Schulz for an inverse",
)

refuse(
    *_found("linear_solve"),
    reason="a custom linear solve runs until it converges, and how long would disclose the "
    "secret. Use a fixed number of iterations (lax.fori_loop)",
)

refuse(
    *_found(
        "random_bits",
        "random_clone",
        "random_fold_in",
        "random_gamma",
        "random_seed",
        "random_split",
        "random_unwrap",
        "random_wrap",
        "rng_bit_generator",
        "rng_uniform",
        "threefry2x32",
    ),
    reason="a random generator with a secret key is not supported. jax.random with a public key "
    "is public computation and works; draw secret randomness outside and share it as an argument",
)

refuse(
    *_found(
        "bessel_i0e",
        "bessel_i1e",
        "digamma",
        "igamma",
        "igamma_grad_a",
        "igammac",
        "lgamma",
        "polygamma",
        "regularized_incomplete_beta",
        "zeta",
    ),
    reason="this special function is not supported on secrets. Approximate it on the range that "
    "is needed by a polynomial (jnp.polyval with public coefficients)",
)

refuse(
    *_found("pure_callback", "io_callback", "debug_callback", "debug_print"),
    reason="a callback into Python would see a secret. Disclose it first on purpose, with "
    "jsmpc.reveal(x)",
)

refuse(
    *_found("infeed", "outfeed"),
    reason="infeed and outfeed move values out of the program, past the protocol. Pass secrets "
    "as arguments and results",
)

refuse(
    *_found(
        "all_gather",
        "all_gather_invariant",
        "all_gather_reduced",
        "all_to_all",
        "pmax",
        "pmin",
        "ppermute",
        "psum",
        "psum_invariant",
        "pbroadcast",
        "ragged_all_to_all",
        "reduce_scatter",
        "unreduced_psum",
        "unreduced_reduce_scatter",
    ),
    reason="collectives over devices are not supported on secrets. Use jax.vmap and sums over "
    "array axes",
)

refuse(
    *_found("select_and_scatter"),
    reason="the gradient of a reduction by a function of one's own is not supported on secrets. "
    "Use sums, products, extremes, any and all, or lax.scan",
)

refuse(
    *_found("mulhi"),
    reason="the upper half of a product goes beyond the ring. Use a wider integer type and shift",
)

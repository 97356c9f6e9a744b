"""Secure multi-party computation as a JAX function transformation.

Example:
  A function of two secret arrays, in plain JAX. `reveal` inside says what becomes known; in plain
  JAX it is the identity.

  >>> import jax, jax.numpy as jnp, jsmpc
  >>> def correlation(x, y):
  ...     x, y = x - x.mean(), y - y.mean()
  ...     return jsmpc.reveal((x * y).mean() / jnp.sqrt((x * x).mean() * (y * y).mean()))

  Each owner shares an array among three parties. A `Share` can be stored, sent and computed on; it
  never shows its value.

  >>> smpc = jsmpc.Replicated3(parties=("alice", "bob", "carol"))
  >>> x = jsmpc.share(jsmpc.random_key(), jnp.array([1.0, 2.0, 3.0, 4.0]), smpc)
  >>> y = jsmpc.share(jsmpc.random_key(), jnp.array([2.0, 1.0, 4.0, 3.0]), smpc)
  >>> x
  Share(float32[4], Replicated3, alice, bob, carol)

  The secure function is the same function; its first argument is a fresh key.

  >>> secure_correlation = jsmpc.secure(correlation)
  >>> print(f"{secure_correlation(jsmpc.random_key(), x, y):.3f}")
  0.600

  What is not revealed inside stays a share, until its owners disclose it.

  >>> mean = jsmpc.secure(lambda x: x.mean())
  >>> jsmpc.reveal(mean(jsmpc.random_key(), x), to="alice")
  Array(2.5, dtype=float32)

  A `SecureFunction` has an offline phase, which needs no inputs but their shapes and makes the
  `Material` of one online phase; and it counts its messages before it runs.

  >>> material = mean.offline(jsmpc.random_key(), x)
  >>> jsmpc.reveal(mean.online(material, x))
  Array(2.5, dtype=float32)
  >>> mean.cost(x).rounds
  2
"""

from jsmpc import testing as testing
from jsmpc._src.api.arrays import from_arrays, to_arrays
from jsmpc._src.api.calibrate import calibrate
from jsmpc._src.api.diagnose import diagnose
from jsmpc._src.api.function import SecureFunction
from jsmpc._src.api.material import Material
from jsmpc._src.api.owned import input, protocol
from jsmpc._src.api.profile import profile
from jsmpc._src.api.references import references
from jsmpc._src.api.secure import secure
from jsmpc._src.api.share import Share
from jsmpc._src.api.sharing import reveal, share
from jsmpc._src.api.storage import load, save
from jsmpc._src.api.verify import verify
from jsmpc._src.errors import (
    BudgetError,
    EncodingError,
    EncodingWarning,
    FederatedError,
    JsmpcError,
    KeyFormatError,
    LimitError,
    LinkError,
    MaterialError,
    PlanError,
    PointerError,
    ProtocolError,
    SecretError,
    ServiceError,
    UnsupportedError,
)
from jsmpc._src.interpreter.support import supported
from jsmpc._src.plans.plan import Plan
from jsmpc._src.plans.trace import plan
from jsmpc._src.protocols import FSS2, Additive, Protocol, Replicated3, SecureNN
from jsmpc._src.readings.cost import Cost
from jsmpc._src.readings.diagnosis.report import Diagnosis
from jsmpc._src.readings.pricing.comparison import Comparison
from jsmpc._src.readings.pricing.network import LAN, WAN, Network
from jsmpc._src.readings.pricing.profile import Profile
from jsmpc._src.readings.scaling.plan import Scales
from jsmpc._src.readings.verification.report import Verification
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.runtime.prf import random_key
from jsmpc._src.service.connecting import connect
from jsmpc._src.workers.pointer import Pointer
from jsmpc._src.workers.remote import workers
from jsmpc._src.workers.roles import Roles
from jsmpc._src.workers.running import run
from jsmpc._src.workers.worker import Worker, get, search, send
from jsmpc._version import __version__

__all__ = [
    "FSS2",
    "LAN",
    "WAN",
    "Additive",
    "BudgetError",
    "Comparison",
    "Cost",
    "Diagnosis",
    "EncodingError",
    "EncodingWarning",
    "FederatedError",
    "FixedPoint",
    "JsmpcError",
    "KeyFormatError",
    "LimitError",
    "LinkError",
    "Material",
    "MaterialError",
    "Network",
    "Plan",
    "PlanError",
    "Pointer",
    "PointerError",
    "Profile",
    "Protocol",
    "ProtocolError",
    "Replicated3",
    "Roles",
    "Scales",
    "SecretError",
    "SecureFunction",
    "SecureNN",
    "ServiceError",
    "Share",
    "UnsupportedError",
    "Verification",
    "Worker",
    "__version__",
    "calibrate",
    "connect",
    "diagnose",
    "from_arrays",
    "get",
    "input",
    "load",
    "plan",
    "profile",
    "protocol",
    "random_key",
    "references",
    "reveal",
    "run",
    "save",
    "search",
    "secure",
    "send",
    "share",
    "supported",
    "to_arrays",
    "verify",
    "workers",
]


def __dir__() -> list[str]:
    return __all__

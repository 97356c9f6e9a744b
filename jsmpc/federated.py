"""Federated learning: models that travel to the data, averages that show no single update.

Example:
  Four clients learn a line together; nobody sees an update but their mean.

  >>> import jax, jax.numpy as jnp, optax, jsmpc
  >>> from jsmpc import federated
  >>> x = jnp.linspace(-1, 1, 64)
  >>> data = {"x": x, "y": 2 * x + 1}
  >>> clients = federated.Clients.of(data, federated.equal(jax.random.key(0), 64, 4))
  >>> def loss(params, batch):
  ...     return (params["w"] * batch["x"] + params["b"] - batch["y"]) ** 2
  >>> federation = federated.Federation(
  ...     federated.local_steps(loss, optax.sgd(0.2), steps=10, batch=8),
  ...     server=optax.sgd(1.0),
  ...     per_round=4,
  ...     aggregate=federated.securely(federated.mean, jsmpc.Replicated3()),
  ...     chunk=4,
  ... )
  >>> state = federation.init({"w": jnp.zeros(()), "b": jnp.zeros(())})
  >>> for key in jax.random.split(jax.random.key(1), 5):
  ...     state, metrics = federation.round(key, state, clients)
  >>> bool(metrics.loss < 0.01)
  True
"""

from jsmpc._src.federated.aggregation import clipped_mean, krum, mean, median, trimmed_mean
from jsmpc._src.federated.at_workers import WorkersFederation
from jsmpc._src.federated.batches import batches, batches_of_each
from jsmpc._src.federated.clients import Clients
from jsmpc._src.federated.committee import Committee, Total, by_committee
from jsmpc._src.federated.datasets import FederatedDataset, federate
from jsmpc._src.federated.given import Reason
from jsmpc._src.federated.local import Stateful, Update, local_epochs, local_steps, scaffold
from jsmpc._src.federated.masked.client import RoundClient
from jsmpc._src.federated.masked.failures import RoundError
from jsmpc._src.federated.masked.keys import new_identity
from jsmpc._src.federated.masked.record import Refusal, RoundRecord, RoundResult
from jsmpc._src.federated.masked.server import RoundServer
from jsmpc._src.federated.masked.setup import OneServer
from jsmpc._src.federated.masked.simulation import Simulated, by_one_server, simulate
from jsmpc._src.federated.passing import WorkersSequential
from jsmpc._src.federated.privacy.accounting import Mechanism, noise_for
from jsmpc._src.federated.privacy.clipping import AdaptiveClip, clipped
from jsmpc._src.federated.privacy.examples import examples_epsilon, private_steps
from jsmpc._src.federated.privacy.gaussian import discrete_gaussian
from jsmpc._src.federated.privacy.private import Privacy, Spent
from jsmpc._src.federated.privacy.shares import client_noise, noise_room
from jsmpc._src.federated.quantization import Quantization, UpdateError
from jsmpc._src.federated.rounds import Federation, Metrics, State
from jsmpc._src.federated.running import run
from jsmpc._src.federated.secured import securely
from jsmpc._src.federated.sequential import Sequential
from jsmpc._src.federated.splits import dirichlet, equal, shards, sized

__all__ = [
    "AdaptiveClip",
    "Clients",
    "Committee",
    "FederatedDataset",
    "Federation",
    "Mechanism",
    "Metrics",
    "OneServer",
    "Privacy",
    "Quantization",
    "Reason",
    "Refusal",
    "RoundClient",
    "RoundError",
    "RoundRecord",
    "RoundResult",
    "RoundServer",
    "Sequential",
    "Simulated",
    "Spent",
    "State",
    "Stateful",
    "Total",
    "Update",
    "UpdateError",
    "WorkersFederation",
    "WorkersSequential",
    "batches",
    "batches_of_each",
    "by_committee",
    "by_one_server",
    "client_noise",
    "clipped",
    "clipped_mean",
    "dirichlet",
    "discrete_gaussian",
    "equal",
    "examples_epsilon",
    "federate",
    "krum",
    "local_epochs",
    "local_steps",
    "mean",
    "median",
    "new_identity",
    "noise_for",
    "noise_room",
    "private_steps",
    "run",
    "scaffold",
    "securely",
    "shards",
    "simulate",
    "sized",
    "trimmed_mean",
]

"""What one client does in a round: its own steps on its own data, as a pure function."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jsmpc._src.errors import FederatedError

Loss = Callable[[Any, Any], Any]
"""From parameters and a batch [examples, …] to the loss of each example, [examples]."""


class Update(NamedTuple):
    """What a client gives back.

    Attributes:
      delta: its parameters less those that it was given.
      weight: how much it counts: the number of its examples.
      loss: the mean loss of its steps, for metrics.
      own: what it keeps for the next round: an optimizer's state, or a control variate.
      common: how it would change what all clients are given besides parameters; see `Stateful`.
    """

    delta: Any
    weight: Any
    loss: Any
    own: Any = None
    common: Any = None


ClientUpdate = Callable[..., Update]
"""From (params, data [examples, …], count, key) to an `Update`."""


def _nothing(params: Any) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Stateful:
    """A client's work with something that it keeps from round to round.

    Attributes:
      update: from (params, data, count, key, own, common) to an `Update` with its `own`.
      own: from parameters to what each client has before its first round.
      common: from parameters to what all are given besides: it moves by the aggregate of `common`
        of the updates, times the share of all clients that took part.
    """

    update: ClientUpdate
    own: Callable[[Any], Any] = _nothing
    common: Callable[[Any], Any] = _nothing


def stateful(client_update: ClientUpdate | Stateful) -> Stateful:
    """A client's work as one that keeps something, which may be nothing."""
    if isinstance(client_update, Stateful):
        return client_update
    return _stateless(client_update)


@functools.lru_cache(maxsize=256)
def _stateless(client_update: ClientUpdate) -> Stateful:
    def update(params: Any, data: Any, count: Any, key: Any, own: Any, common: Any) -> Update:
        found = client_update(params, data, count, key)
        if jax.tree.leaves((found.own, found.common)):
            raise FederatedError(
                "an update has something to keep, which nobody keeps. Make the client's work a "
                "Stateful, which says what there is before the first round"
            )
        return found

    return Stateful(update)


class _Batches(NamedTuple):
    """Numbers of examples, [steps, batch], and which of them count; None for all."""

    rows: Any
    real: Any = None


_Draw = Callable[[Any, Any, Any], _Batches]  # from (key, count, examples with padding)


def local_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    batch: int,
    proximal: float = 0.0,
    keeps_state: bool = False,
) -> ClientUpdate | Stateful:
    """A client that takes some steps of an Optax optimizer on batches of its own examples.

    Batches are drawn from its examples without their order, with replacement, so that clients of
    any size take the same number of steps.

    Args:
      loss: of each example of a batch.
      steps: how many; batch: the examples of each.
      proximal: FedProx's µ: adds µ/2·|w − w0|² to the loss, w0 being what the round began with.
      keeps_state: whether the optimizer's state stays with the client from round to round.

    Source: McMahan and others, AISTATS 2017 (algorithm 1, ClientUpdate); Li and others, Federated
    optimization in heterogeneous networks, MLSys 2020 (FedProx).
    """
    return _work(loss, optimizer, _drawn(steps, batch), proximal, keeps_state)


def local_epochs(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    epochs: int,
    batch: int,
    proximal: float = 0.0,
    keeps_state: bool = False,
) -> ClientUpdate | Stateful:
    """A client that goes through its own examples some times, in another order each time.

    A client of fewer examples takes fewer steps; its last batch of an epoch may be smaller.

    Args:
      epochs: how many; the others, and the source, as of `local_steps`.
    """
    return _work(loss, optimizer, _shuffled(epochs, batch), proximal, keeps_state)


def scaffold(loss: Loss, rate: float, *, steps: int, batch: int) -> Stateful:
    """A client of SCAFFOLD: it corrects its steps by how its data differ from everybody's.

    1. y ← x; a step: y ← y − rate·(g(y) − c_i + c), with c_i its own control variate, c the
       server's.
    2. c_i⁺ ← c_i − c + (x − y) / (steps·rate), which is option II.
    3. It gives back y − x and c_i⁺ − c_i; both are aggregated, by equal weights.

    The server then moves x by its optimizer, `optax.sgd(1.0)` for a step by the mean, and c by the
    mean of its part times the share of clients that took part.

    Args:
      rate: of the local steps; the others as of `local_steps`.

    Cost: twice the numbers of an average in each direction.

    Source: Karimireddy and others, SCAFFOLD: stochastic controlled averaging for federated
    learning, ICML 2020, algorithm 1.
    """
    draw, optimizer = _drawn(steps, batch), optax.sgd(rate)

    def update(params: Any, data: Any, count: Any, key: Any, own: Any, common: Any) -> Update:
        batches = draw(key, count, _length(data))
        correction = optax.tree.sub(common, own)
        start = optimizer.init(params)
        last, _, found = _descended(
            _objective(loss), optimizer, params, start, data, batches, correction
        )
        delta = optax.tree.sub(last, params)
        change = jax.tree.map(lambda c, d: -c - d / (steps * rate), common, delta)
        return Update(delta, jnp.ones(()), found, optax.tree.add(own, change), change)

    return Stateful(update, optax.tree.zeros_like, optax.tree.zeros_like)


def _drawn(steps: int, batch: int) -> _Draw:
    def draw(key: Any, count: Any, examples: int) -> _Batches:
        keys = jax.random.split(key, steps)
        return _Batches(jax.vmap(lambda k: jax.random.randint(k, (batch,), 0, count))(keys))

    return draw


def _shuffled(epochs: int, batch: int) -> _Draw:
    def draw(key: Any, count: Any, examples: int) -> _Batches:
        steps = -(-examples // batch)
        real = jnp.arange(steps * batch) < count

        def order(key: Any) -> Any:
            last = jnp.where(real[:examples], jax.random.uniform(key, (examples,)), jnp.inf)
            return jnp.zeros(steps * batch, jnp.int32).at[:examples].set(jnp.argsort(last))

        rows = jax.vmap(order)(jax.random.split(key, epochs)).reshape(epochs * steps, batch)
        return _Batches(rows, jnp.tile(real.reshape(steps, batch), (epochs, 1)))

    return draw


def _work(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    draw: _Draw,
    proximal: float,
    keeps_state: bool,
) -> ClientUpdate | Stateful:
    objective = _objective(loss, proximal)

    def update(
        params: Any, data: Any, count: Any, key: Any, own: Any = None, common: Any = None
    ) -> Update:
        state = own if keeps_state else optimizer.init(params)
        batches = draw(key, count, _length(data))
        last, state, found = _descended(objective, optimizer, params, state, data, batches)
        delta, weight = optax.tree.sub(last, params), jnp.asarray(count, jnp.float32)
        return Update(delta, weight, found, state if keeps_state else None)

    return Stateful(update, optimizer.init) if keeps_state else update


def _objective(loss: Loss, proximal: float = 0.0) -> Callable[..., Any]:
    """The mean loss of the examples that count, with the proximal term."""

    def objective(params: Any, start: Any, examples: Any, real: Any) -> Any:
        far = optax.tree.norm(optax.tree.sub(params, start), squared=True) if proximal else 0.0
        losses = loss(params, examples)
        mean = losses.mean() if real is None else losses.mean(where=real)
        return mean + 0.5 * proximal * far

    return objective


def _descended(
    objective: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    params: Any,
    state: Any,
    data: Any,
    batches: _Batches,
    correction: Any = None,
) -> tuple[Any, Any, Any]:
    """Parameters and state after a step for each batch, and their mean loss.

    Args:
      correction: is added to each gradient.
    """

    def step(carry: Any, drawn: _Batches) -> Any:
        now, state = carry
        examples = jax.tree.map(lambda x: jnp.asarray(x)[drawn.rows], data)
        value, gradient = jax.value_and_grad(objective)(now, params, examples, drawn.real)
        if correction is not None:
            gradient = optax.tree.add(gradient, correction)
        changes, after = optimizer.update(gradient, state, now)
        return (optax.apply_updates(now, changes), after), value

    def guarded(carry: Any, drawn: _Batches) -> Any:
        """A step, unless its batch is empty."""
        after, value = step(carry, drawn)
        some = drawn.real.any()
        return jax.tree.map(lambda a, b: jnp.where(some, a, b), after, carry), value

    if batches.real is None:
        (last, state), losses = jax.lax.scan(step, (params, state), batches)
        return last, state, losses.mean()
    (last, state), losses = jax.lax.scan(guarded, (params, state), batches)
    return last, state, losses.mean(where=batches.real.any(axis=1))


def _length(data: Any) -> int:
    return int(jax.tree.leaves(data)[0].shape[0])

"""The errors of jsmpc: each names the operation and says what to do instead."""


class JsmpcError(Exception):
    """Base of every error that jsmpc raises on purpose.

    Example:
      One clause is enough to tell them from all others.

      >>> import jsmpc
      >>> try:
      ...     jsmpc.share("no key", 1.0, jsmpc.Replicated3())
      ... except jsmpc.JsmpcError as error:
      ...     print(type(error).__name__)
      KeyFormatError
    """


class EncodingError(JsmpcError, ValueError):
    """A value that the fixed-point encoding cannot hold: NaN, infinite or out of range.

    Example:
      >>> import jsmpc
      >>> jsmpc.share(jsmpc.random_key(), float("nan"), jsmpc.Replicated3())
      Traceback (most recent call last):
          ...
      jsmpc.EncodingError: the value holds NaN, which no fixed-point number stands for. …
    """


class KeyFormatError(JsmpcError, TypeError):
    """Something that is not a key was passed as one.

    Example:
      >>> import jsmpc
      >>> jsmpc.share(42, 1.0, jsmpc.Replicated3())
      Traceback (most recent call last):
          ...
      jsmpc.KeyFormatError: not a key: int. Pass jsmpc.random_key(), …
    """


class ProtocolError(JsmpcError, ValueError):
    """Shares of two protocols, rings or encodings, or the wrong number of parties.

    Example:
      >>> import jsmpc
      >>> jsmpc.Replicated3(parties=("alice", "bob"))
      Traceback (most recent call last):
          ...
      jsmpc.ProtocolError: replicated sharing needs exactly 3 parties, not 2
    """


class MaterialError(JsmpcError, ValueError):
    """Offline material of another function, of other shapes, or used twice.

    Example:
      >>> import jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), 3.0, jsmpc.Additive())
      >>> square = jsmpc.secure(lambda x: x * x)
      >>> material = square.offline(jsmpc.random_key(), x)
      >>> print(f"{jsmpc.reveal(square.online(material, x)):.3f}")
      9.000
      >>> square.online(material, x)
      Traceback (most recent call last):
          ...
      jsmpc.MaterialError: the material has been used: …
    """


class UnsupportedError(JsmpcError, NotImplementedError):
    """A JAX primitive, or a use of one, that cannot be computed on secrets.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.ones(4), jsmpc.Replicated3())
      >>> jsmpc.secure(jnp.fft.fft)(jsmpc.random_key(), x)
      Traceback (most recent call last):
          ...
      jsmpc.UnsupportedError: fft at …: complex numbers have no encoding. …
    """


class SecretError(JsmpcError, TypeError):
    """A secret used as if it were public: as a Python bool, a number or a NumPy array.

    Example:
      >>> import jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), 1.0, jsmpc.Replicated3())
      >>> if x:
      ...     print("x is not zero")
      Traceback (most recent call last):
          ...
      jsmpc.SecretError: a secret cannot be used as a Python bool: …
    """


class LinkError(JsmpcError, ConnectionError):
    """A connection between endpoints that cannot be made, or that has ended.

    Example:
      Endpoints on other machines have to show who they are.

      >>> import socket
      >>> from jsmpc._src.links.links import Peer, connect
      >>> peers = [Peer("alice", "127.0.0.1", 7000, None), Peer("bob", "192.0.2.2", 7000, None)]
      >>> with socket.socket() as listener:
      ...     connect(0, peers, listener=listener, identity=None)
      Traceback (most recent call last):
          ...
      jsmpc.LinkError: bob is on another machine (192.0.2.2): without certificates, …
    """


class ServiceError(JsmpcError, RuntimeError):
    """A query that a service does not answer, or a model that it cannot serve.

    Attributes:
      reason: in a word, for counts.

    Example:
      >>> import jsmpc
      >>> issubclass(jsmpc.ServiceError, jsmpc.JsmpcError)
      True
    """

    def __init__(self, text: str, reason: str = "failed") -> None:
        super().__init__(text)
        self.reason = reason


class LimitError(ServiceError):
    """A query beyond what a service permits its client: ask again later, or less at once.

    Example:
      >>> import jsmpc
      >>> issubclass(jsmpc.LimitError, jsmpc.ServiceError)
      True
    """


class EncodingWarning(UserWarning):
    """Numbers of which the fixed-point encoding keeps nothing, or few digits, where it can be told.

    That are public ones and shared arrays that are rounded to zero, small ones with which a loop
    begins, and numbers for whose digits a plan finds no room.

    Example:
      >>> import warnings, jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), 1.0, jsmpc.Replicated3())
      >>> with warnings.catch_warnings(record=True) as caught:
      ...     warnings.simplefilter("always")
      ...     y = jsmpc.secure(lambda x: x + 1e-8)(jsmpc.random_key(), x)
      >>> caught[0].category.__name__
      'EncodingWarning'
    """


class PlanError(JsmpcError, ValueError):
    """A plan that cannot be made, is damaged, or does not fit what it is called with.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> total = jsmpc.plan(jnp.sum, "float32[n]")
      >>> total(jnp.ones((2, 2)))
      Traceback (most recent call last):
          ...
      jsmpc.PlanError: plan sum: args[0] is float32[2,2], where float32[n] is wanted. …
    """


class PointerError(JsmpcError, ValueError):
    """A pointer whose value is not there any more, or operands that lie at two workers.

    Example:
      >>> import jsmpc
      >>> bob = jsmpc.Worker("bob")
      >>> x = bob.send(1.0)
      >>> x.get()
      Array(1., dtype=float32)
      >>> x.get()
      Traceback (most recent call last):
          ...
      jsmpc.PointerError: get at bob: … was taken back by get. …
    """


class FederatedError(JsmpcError, ValueError):
    """Clients, updates or a round of federated learning that cannot be what they are to be.

    Example:
      >>> import jax
      >>> from jsmpc import federated
      >>> federated.equal(jax.random.key(0), examples=2, clients=3)
      Traceback (most recent call last):
          ...
      jsmpc.FederatedError: split: 2 examples cannot be split among 3 clients
    """


class BudgetError(FederatedError):
    """A round that would cost more privacy than is left, before anything of it is computed.

    Example:
      >>> import jsmpc
      >>> issubclass(jsmpc.BudgetError, jsmpc.FederatedError)
      True
    """

"""Pointers: what is known here of a value that lies at a worker."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import forms
from jsmpc._src.errors import PointerError
from jsmpc._src.jaxprs import tracing
from jsmpc._src.plans import specs
from jsmpc._src.plans.located import Located
from jsmpc._src.workers import running

if TYPE_CHECKING:
    from jsmpc._src.workers.worker import BaseWorker


class _Computed(Located):
    """A value elsewhere with the arithmetic of arrays, each operation of which runs there."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def T(self) -> Any:  # noqa: N802
        return running.run(jnp.transpose, self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self!r} has no first axis, and so no length")
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return running.run(_Indexing(index), self)

    def astype(self, dtype: Any) -> Any:
        """As that of an array, at the worker."""
        return running.run(_Method("astype", (np.dtype(dtype),)), self)

    def reshape(self, *shape: Any) -> Any:
        """As that of an array, at the worker."""
        return running.run(_Method("reshape", shape), self)

    def __bool__(self) -> bool:
        raise PointerError(f"{self!r} has no value here. Get it first, where its owner permits it")

    __float__ = __int__ = __index__ = __complex__ = __array__ = __bool__  # type: ignore[assignment]
    __iter__ = None
    __array_ufunc__ = None  # so that the operators of NumPy's arrays leave it to these here


class _Method:
    """A method of arrays with its arguments, which are the same for equal ones."""

    def __init__(self, name: str, args: Any, kwargs: Any = ()) -> None:
        self.__name__, self._args, self._kwargs = name, args, tuple(kwargs)
        self._key = name, repr(args), repr(self._kwargs)

    def __call__(self, x: Any) -> Any:
        return getattr(x, self.__name__)(*self._args, **dict(self._kwargs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Method) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class _Indexing(_Method):
    def __init__(self, index: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, Located) or getattr(p, "ndim", 0) for p in parts):
            raise PointerError(
                "an index of a pointer is numbers and slices. Index by arrays in a function: "
                "jsmpc.run(lambda x, i: x[i], x, i)"
            )
        super().__init__("__getitem__", (index,))


def _binary(f: Callable[..., Any], swapped: bool = False) -> Any:
    def method(self: Any, other: Any) -> Any:
        if not isinstance(
            other, Located | jax.Array | np.ndarray | np.generic | int | float | complex
        ):
            return NotImplemented
        return running.run(f, other, self) if swapped else running.run(f, self, other)

    return method


def _unary(f: Callable[..., Any]) -> Any:
    return lambda self: running.run(f, self)


def _reduction(name: str) -> Any:
    def method(self: Any, axis: Any = None, **kwargs: Any) -> Any:
        return running.run(_Method(name, (), sorted({"axis": axis, **kwargs}.items())), self)

    method.__doc__ = "As that of an array, at the worker."
    return method


_BINARY: dict[str, Callable[..., Any]] = {
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "truediv": jnp.true_divide,
    "floordiv": jnp.floor_divide,
    "mod": jnp.mod,
    "pow": jnp.power,
    "matmul": jnp.matmul,
    "and": jnp.bitwise_and,
    "or": jnp.bitwise_or,
    "xor": jnp.bitwise_xor,
    "lshift": jnp.left_shift,
    "rshift": jnp.right_shift,
}
_COMPARISONS: dict[str, Callable[..., Any]] = {
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
}
_UNARY: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "abs": abs,
    "invert": operator.invert,
}
_REDUCTIONS = "sum prod mean std var min max argmin argmax any all cumsum"
for _name, _f in _BINARY.items():
    setattr(_Computed, f"__{_name}__", _binary(_f))
    setattr(_Computed, f"__r{_name}__", _binary(_f, swapped=True))
for _name, _f in _COMPARISONS.items():
    setattr(_Computed, f"__{_name}__", _binary(_f))
for _name, _f in _UNARY.items():
    setattr(_Computed, f"__{_name}__", _unary(_f))
for _name in _REDUCTIONS.split():
    setattr(_Computed, _name, _reduction(_name))


class Pointer(_Computed):
    """What is known here of a value at a worker: no more than what it is.

    Arithmetic, comparison, indexing and reductions run at the worker and give pointers;
    `jsmpc.run` runs any function there. When the last pointer to a value is gone, so is the value.

    Attributes:
      location: the worker.
      id: the value's there.
      owner: who brought it, or had it computed.
      shape, dtype: of an array; `structure` are those of all arrays of a pytree.
      tags, description: as they were sent along.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
      >>> x = bob.send(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
      >>> x.shape, x.dtype, x.location, x.owner
      ((2, 2), dtype('float32'), Worker('bob'), 'me')
      >>> (x[0] @ x).sum().get()
      Array(17., dtype=float32)
      >>> y = x.move(alice)
      >>> y.get().shape, len(alice.objects)
      ((2, 2), 0)
    """

    __hash__ = object.__hash__

    def __init__(self, location: BaseWorker, info: dict[str, Any]) -> None:
        self.place = self.location = location
        self.info, self.id, self.owner = info, str(info["id"]), str(info["by"])
        self.tags, self.description = tuple(info["tags"]), str(info["description"])
        self._form, self.to_pointer = info["form"], info["kind"] == "pointer"
        self._types = [(tuple(shape), jnp.dtype(dtype)) for dtype, shape in info["types"]]
        self._gone: str | None = None
        self._release = weakref.finalize(self, location.released.append, self.id)
        self._release.atexit = False

    @property
    def structure(self) -> Any:
        """The shapes and dtypes of all arrays, in their containers."""
        return self._tree([jax.ShapeDtypeStruct(*t) for t in self._types])

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._only[0]

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self._only[1]

    @property
    def _only(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if self._form is not None:
            raise PointerError(
                f"{self!r} is to a pytree; its `structure` has a shape for each array"
            )
        return self._types[0]

    def _tree(self, leaves: Sequence[Any]) -> Any:
        return forms.tree_of(self._form, iter(leaves))

    def parts(self) -> Any:
        """The arrays of a pytree, each as what is elsewhere; an array's pointer itself."""
        self.require_there("use")
        if self._form is None:
            return self
        return self._tree([Part(self, i, *t) for i, t in enumerate(self._types)])

    def require_there(self, doing: str) -> None:
        """PointerError if what it points to was taken away by it."""
        if self._gone is not None:
            raise PointerError(
                f"{doing} at {self.location.name}: the value of this pointer was taken back by "
                f"{self._gone}. Send it again, or use copy where it is to stay"
            )

    def _taken(self, how: str) -> None:
        self._gone = how
        self._release.detach()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) if self._form is None else self.parts()[index]

    def get(self) -> Any:
        """The value, which is then no longer at the worker, unless it is the owner's own.

        Of a pointer to a pointer it is the pointer.

        Raises:
          PointerError: if it is not there any more.
          PolicyError: if the worker's owner does not let it leave.
          ValueError: if it is in a named tuple that this process has not imported; it stays there.
        """
        self.require_there("get")
        _ = self.structure
        found = self.location.fetched("get", self.id)
        self._taken("get")
        return found

    def copy(self) -> Any:
        """The value, which stays at the worker; errors as of `get`."""
        self.require_there("copy")
        return self.location.fetched("read", self.id)

    def move(self, to: BaseWorker) -> Pointer:
        """The value moved to another worker, by the workers, without its coming here.

        The owner's own data stay as well.

        Raises:
          PointerError: if it is not there any more, or the workers do not know each other.
          PolicyError: if the worker's owner does not let it go there.
        """
        self.require_there("move")
        found = self.location.forwarded(self.id, to)
        self._taken("move")
        return found

    def send(self, to: BaseWorker, tags: Sequence[str] = (), description: str = "") -> Pointer:
        """A pointer to this pointer, which is kept at another worker."""
        return to.send(self, tags, description)

    def __copy__(self) -> Pointer:
        return self

    def __deepcopy__(self, memo: Any) -> Pointer:
        return self

    def __reduce__(self) -> Any:
        raise PointerError(
            "a pointer belongs to its process. Tag the value, and find it from another one with "
            "worker.search"
        )

    def __repr__(self) -> str:
        types = ", ".join(specs.written(jax.ShapeDtypeStruct(*t)) for t in self._types[:4])
        more = ", …" if len(self._types) > 4 else ""
        kind = "pointer to " if self.to_pointer else ""
        tags = f" {' '.join(self.tags)}" if self.tags else ""
        return f"Pointer({kind}{types}{more} at {self.location.name}, {self.id[:8]}{tags})"


class Part(_Computed):
    """One array of a pytree at a worker."""

    __hash__ = object.__hash__

    def __init__(self, whole: Pointer, number: int, shape: Any, dtype: Any) -> None:
        self.place, self.whole, self.number = whole.place, whole, number
        self.shape, self.dtype = shape, dtype

    def parts(self) -> Any:
        self.whole.require_there("use")
        return self

    def copy(self) -> Any:
        """The array, which stays at the worker; errors as of `Pointer.get`."""
        return running.run(_identity, self).get()

    def __repr__(self) -> str:
        return f"Part({specs.written(self)} of {self.whole!r})"


def _identity(x: Any) -> Any:
    return x


def operand(x: Any) -> Any:
    """How a request names a leaf: an array is one itself; PointerError for one without a value."""
    if tracing.is_traced(x):
        raise PointerError(
            "what a worker is to compute has an argument that is being traced, whose value is not "
            "known. Call outside of jit, grad, vmap and scan; inside of the function that runs at "
            "the worker all of them work"
        )
    if isinstance(x, Pointer):
        return {"id": x.id, "leaf": 0}
    if isinstance(x, Part):
        return {"id": x.whole.id, "leaf": x.number}
    return x

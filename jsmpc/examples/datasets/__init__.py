"""Data sets for examples, tests and benchmarks, as NumPy arrays."""

from jsmpc.examples.datasets.housing import Housing, load_housing
from jsmpc.examples.datasets.mnist import Mnist, batches, load_mnist, normalize

__all__ = ["Housing", "Mnist", "batches", "load_housing", "load_mnist", "normalize"]

"""Data sets for examples, tests and benchmarks, as NumPy arrays."""

from jsmpc.examples.datasets.mnist import Mnist, batches, load_mnist, normalize

__all__ = ["Mnist", "batches", "load_mnist", "normalize"]

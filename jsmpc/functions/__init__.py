"""Computations written once over any protocol."""

"""Computations written once over any protocol.

Costs are those of `Replicated3` with 64 bits, unless said otherwise: rounds, and the bytes that a
party sends for each element, on average.
"""

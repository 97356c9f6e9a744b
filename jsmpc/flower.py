"""Secure aggregation and differential privacy for apps of Flower (`pip install 'jsmpc[flower]'`).

An ordinary app stays as it is, but for a mod of its `ClientApp` and a strategy around its own:

    app = ClientApp(mods=[flower.SecureMod(at_least=10)])

    strategy = flower.SecureAggregation(
        FedAvg(), federated.Quantization(clip=1.0, most_weight=1000), dropping=0.2
    )
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=10)

The server then sees weighted means and no single update. See `federated.OneServer` for what that
protects from whom.
"""

from jsmpc._src.flower.mod import SecureMod
from jsmpc._src.flower.strategy import SecureAggregation

__all__ = ["SecureAggregation", "SecureMod"]

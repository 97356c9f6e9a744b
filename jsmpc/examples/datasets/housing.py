"""Houses and their prices, made up: a small regression from 13 numbers, in the manner of Boston's.

Nothing in it was measured anywhere. The README next to this file tells how it is drawn.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEATURES: tuple[str, ...] = (
    "rooms",
    "area",  # square metres
    "plot",  # square metres
    "age",  # years
    "storey",
    "bathrooms",
    "centre",  # kilometres away
    "station",  # kilometres away
    "noise",  # decibels
    "green",  # per cent of the neighbourhood
    "pupils",  # a teacher, at the next school
    "tax",  # per mille a year
    "shops",  # within a kilometre
)
"""The names of the columns, in their order."""

_SEED, _TRAIN, _TEST = 13, 404, 102
_PRICE, _SPREAD = 210.0, 0.12  # of the middle house, in thousands; of prices, as a share


class Housing(NamedTuple):
    """Houses, float32 of shape (n, 13), and their prices in thousands, float32 of shape (n, 1)."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.float32]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.float32]


def load_housing() -> Housing:
    """The made-up houses: 404 to learn from and 102 to test, the same ones every time.

    Returns:
        `Housing(x_train, y_train, x_test, y_test)`. The columns of x are `FEATURES`, each in its
        own unit: bring them to one scale by what the training rows tell, as below.

    Example:
        >>> houses = load_housing()
        >>> houses.x_train.shape, houses.y_test.shape
        ((404, 13), (102, 1))
        >>> mean, std = houses.x_train.mean(axis=0), houses.x_train.std(axis=0)
        >>> x = (houses.x_train - mean) / std
        >>> bool(abs(x.std() - 1) < 1e-5)
        True
    """
    # Of NumPy's generators, this one has promised to draw the same numbers for ever.
    draw = np.random.RandomState(_SEED)
    count = _TRAIN + _TEST
    wealth, town, *more = draw.normal(size=(2 + len(FEATURES), count))
    scaled = dict(zip(FEATURES, more, strict=True))
    columns = {
        "rooms": np.clip(np.round(4.5 + 0.9 * wealth - 0.4 * town + scaled["rooms"]), 1, 9),
        "plot": 350 * np.exp(0.2 * wealth - 0.5 * town + 0.4 * scaled["plot"]),
        "age": np.clip(45 + 12 * town + 20 * scaled["age"], 0, 140),
        "storey": np.clip(np.round(0.8 + town + 0.8 * scaled["storey"]), 0, 8),
        "centre": 6 * np.exp(-0.5 * town + 0.4 * scaled["centre"]),
        "station": 1.5 * np.exp(-0.4 * town + 0.5 * scaled["station"]),
        "noise": np.clip(52 + 5 * town - 2 * wealth + 4 * scaled["noise"], 35, 80),
        "green": np.clip(30 - 8 * town + 4 * wealth + 7 * scaled["green"], 0, 90),
        "pupils": np.clip(18 - 1.5 * wealth + 2 * scaled["pupils"], 8, 30),
        "tax": np.clip(9 - 0.8 * wealth + scaled["tax"], 3, 16),
        "shops": np.floor(np.exp(1.8 + 0.7 * town + 0.4 * scaled["shops"])),
    }
    columns["area"] = columns["rooms"] * 24 * np.exp(0.12 * scaled["area"])
    columns["bathrooms"] = np.clip(np.round(columns["rooms"] / 3 + 0.4 * scaled["bathrooms"]), 1, 4)
    value = (
        0.8 * np.log(columns["area"] / 110)
        + 0.12 * np.log(columns["plot"] / 350)
        - 0.25 * np.log(columns["centre"] / 6)
        - 0.08 * np.log(columns["station"] / 1.5)
        - 0.012 * np.maximum(columns["noise"] - 50, 0)
        + 0.004 * (columns["green"] - 30)
        - 0.025 * (columns["pupils"] - 18)
        - 0.03 * (columns["tax"] - 9)
        + 0.06 * (columns["bathrooms"] - 1)
        + 0.00006 * (columns["age"] - 60) ** 2  # the new and the old ones are liked best
    )
    price = _PRICE * np.exp(value + _SPREAD * draw.normal(size=count))
    x = np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)
    y = price.astype(np.float32)[:, None]
    return Housing(x[:_TRAIN], y[:_TRAIN], x[_TRAIN:], y[_TRAIN:])

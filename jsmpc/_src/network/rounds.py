"""What a round is worth, where rounds can be saved at the price of bytes."""

ROUND = 1 << 16  # bytes: what 1 Gbit/s carries in a round of 0.5 ms

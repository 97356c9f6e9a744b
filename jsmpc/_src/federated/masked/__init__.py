"""Aggregation by one server: pairwise masks, and recovery from drop-outs.

Clients add masks to their updates that cancel in the sum of all: each pair draws one from a key
that both agree on, and one of the two subtracts it. A mask of its own, on top, hides the update
of a client that is taken to have dropped out and has not. Shares of both kinds of secrets lie with
the neighbours, who give one of them.

- Everyone is everyone's neighbour: Bonawitz and others, CCS 2017, figure 4.
- Neighbours are a few on a random circle: Bell and others, CCS 2020.

`client` states the steps, `server` what is found out, `setup` thresholds, guarantees and cost,
`graph` the circle and its odds.
"""

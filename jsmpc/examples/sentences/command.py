"""`jsmpc sentences`: the nearest sentence to a query that nobody sees."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jsmpc
from jsmpc.examples import cli
from jsmpc.examples.sentences import minilm, search


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments of `jsmpc sentences` ask for; the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        protocol = cli.make_protocol(options)
        documents = read_documents(options.documents)
        read = minilm.tokenizer()
        query = search.tokens_of(read, options.query)
        given = [search.tokens_of(read, text, search.ENCODER.positions) for text in documents]
    except (ValueError, OSError, minilm.MissingWeightsError) as error:
        parser.error(str(error))
    longest = max(int(mask.sum()) for _, mask in given)
    find(options.query, query, documents, [(t[:longest], m[:longest]) for t, m in given], protocol)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="jsmpc sentences",
        description="Find the sentence nearest in meaning to a query with all-MiniLM-L6-v2 (22 "
        "million weights). Query, weights and the sentences' embeddings are secret-shared; the "
        "first party, the client, alone learns which sentence it is.",
    )
    cli.add_protocol(parser)
    add = parser.add_argument_group("search").add_argument
    add("--query", default=search.QUERY, metavar="TEXT", help="default: %(default)r")
    add("--documents", type=Path, metavar="FILE", help="a sentence a line; some come along")
    return parser


def read_documents(path: Path | None) -> Sequence[str]:
    """The sentences to search.

    Raises:
      ValueError: if there are none.
    """
    if path is None:
        return search.DOCUMENTS
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    if not any(lines):
        raise ValueError(f"--documents: {path} has no sentence")
    return [line for line in lines if line]


def find(
    text: str,
    query: tuple[Any, Any],
    documents: Sequence[str],
    tokens: Sequence[tuple[Any, Any]],
    protocol: jsmpc.Protocol,
) -> None:
    """Search in the clear and in secret, and print both."""
    params, client = minilm.params(), protocol.parties[0]
    weights = sum(x.size for x in jax.tree.leaves(params))
    cli.show("query", text)
    cli.show("documents", f"{len(documents)} sentences")
    cli.show("network", f"all-MiniLM-L6-v2, {weights:,} weights; {search.TOKENS} tokens a query")
    cli.show("protocol", cli.describe(protocol))
    cli.show("kernels", cli.kernels())
    plain = jax.jit(search.embed)
    embeddings = jnp.stack([plain(params, *given) for given in tokens])
    expected = int(search.best_match(embeddings, plain(params, *query)))

    sharing, shares = _timed(
        lambda: jsmpc.share(jsmpc.random_key(), (params, query, embeddings), protocol)
    )
    secret_params, secret_query, secret_documents = shares
    embed, match = jsmpc.secure(search.embed), jsmpc.secure(search.best_match, static_argnames="to")

    def private() -> Any:
        embedding = embed(jsmpc.random_key(), secret_params, *secret_query)
        return match(jsmpc.random_key(), secret_documents, embedding, to=client)

    first, _ = _timed(private)
    again, found = _timed(private)
    print()
    cli.show("plain Flax", documents[expected])
    cli.show(type(protocol).__name__, documents[int(found)])
    print()
    cost = embed.cost(secret_params, *secret_query)
    cli.show("a query", f"{again:.2f} s; {cost.rounds} rounds, {cost.bytes_per_party:,.0f} bytes")
    cli.show("first call", f"{first:.1f} s, tracing and compiling included")
    cli.show("sharing", f"{sharing:.1f} s for weights, query and embeddings")
    cli.show("revealed", f"which sentence it is, to {client} alone")
    cli.show_trust(protocol, "what was revealed")


def _timed(f: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = jax.block_until_ready(f())
    return time.perf_counter() - begin, result

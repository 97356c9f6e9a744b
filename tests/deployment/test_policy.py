"""What a party permits: programs, inputs, and reveals counted over all runs."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jsmpc._src.deployment import log
from jsmpc._src.deployment.errors import LogError, PolicyError
from jsmpc._src.deployment.policy import Policy, Reveal, Rule

PROGRAM, OTHER = "ab" * 32, "cd" * 32
SCORE = Reveal("everyone", "score", 1, "score.py:12 (score)")
LOSS = Reveal("everyone", "loss", 1, "score.py:13 (score)")
BARE = Reveal("everyone", "", 9, "score.py:14 (score)")
TO_BOB = dataclasses.replace(SCORE, to="bob")
Write = Callable[[str], Policy]

FULL = f"""\
programs = [
    "{PROGRAM.upper()}",
]
inputs = ["images"]

[[reveals]]
to = "everyone"
what = "score"
at_most = 2

[[reveals]]  # others too
to = "bob"
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Policy:
        (tmp_path / "policy.toml").write_text(text)
        return Policy.load(tmp_path / "policy.toml")

    return write


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "runs.log"


def test_a_policy_is_read_with_its_lines(write: Write, tmp_path: Path) -> None:
    policy = write(FULL)
    assert policy == Policy(
        (PROGRAM,),
        ("images",),
        (Rule("everyone", "score", 2, "line 6"), Rule("bob", None, None, "line 11")),
        tmp_path / "policy.toml",
    )
    assert policy.places == {"programs": "line 1", "inputs": "line 4", "reveals": "lines 6, 11"}


@pytest.mark.parametrize("policy", [Policy(), Policy.load(None)])
def test_without_a_file_everything_is_permitted(policy: Policy, book: Path) -> None:
    policy.check(OTHER, ["images", "labels"], [SCORE] * 9, book)
    assert not book.exists()


def test_what_a_policy_does_not_mention_is_not_restricted(write: Write, book: Path) -> None:
    write('inputs = ["images"]').check(OTHER, ["images"], [SCORE, BARE], book)
    with pytest.raises(PolicyError, match="does not permit the reveal"):
        write("reveals = []").check(OTHER, ["labels"], [SCORE], book)
    with pytest.raises(PolicyError, match="none of the 0 programs"):
        write("programs = []").check(PROGRAM, [], [], book)


def test_programs(write: Write, book: Path) -> None:
    policy = write(FULL)
    policy.check(PROGRAM, [], [], book)
    policy.check(PROGRAM.upper(), [], [], book)
    message = rf"policy\.toml does not permit the program {OTHER}: .*1 programs \(line 1\)"
    with pytest.raises(PolicyError, match=message):
        policy.check(OTHER, [], [], book)


def test_inputs(write: Write, book: Path) -> None:
    policy = write(FULL)
    policy.check(PROGRAM, ["images", "images"], [], book)
    with pytest.raises(PolicyError, match=r"the input 'labels': .*1 inputs \(line 4\)"):
        policy.check(PROGRAM, ["images", "labels"], [], book)


@pytest.mark.parametrize(
    ("reveal", "message"),
    [
        (LOSS, r"reveal 'loss' of 1 element\(s\) to everyone at score\.py:13 \(score\): no"),
        (BARE, r"reveal of 9 element\(s\) to everyone .*lines 6, 11\).*to = \"everyone\"$"),
        (dataclasses.replace(SCORE, to="carol"), r"to = \"carol\" and what = \"score\"$"),
    ],
)
def test_reveals_without_a_rule(write: Write, book: Path, reveal: Reveal, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        write(FULL).check(PROGRAM, [], [SCORE, TO_BOB, reveal], book)


def test_reveals_are_counted_over_all_runs(write: Write, book: Path) -> None:
    policy = write(FULL)
    policy.claim(PROGRAM, ["images"], [SCORE, TO_BOB, TO_BOB, TO_BOB], book)
    log.append(book, "run", to="everyone", what="score")  # no reveal
    policy.check(PROGRAM, ["images"], [SCORE, TO_BOB], book)
    message = r"at most 2 reveal\(s\) by the rule \(line 6\).*log has 1, this would be number 3"
    with pytest.raises(PolicyError, match=message):
        policy.check(PROGRAM, ["images"], [SCORE, SCORE], book)
    policy.claim(PROGRAM, ["images"], [SCORE], book)
    before = book.read_bytes()
    with pytest.raises(PolicyError, match="log has 2, this would be number 3"):
        policy.claim(PROGRAM, ["images"], [TO_BOB, SCORE], book)
    assert book.read_bytes() == before
    assert log.verify(book).entries == 6


def test_a_claim_is_in_the_log(book: Path) -> None:
    Policy().claim(PROGRAM, [], [SCORE, BARE], book)
    with log.opened(book, write=False) as opened:
        entries = list(opened.read())
    assert [(entry.event, entry.fields) for entry in entries] == [
        ("reveal", {"program": PROGRAM, **dataclasses.asdict(reveal)}) for reveal in (SCORE, BARE)
    ]


def test_the_rule_of_the_label_decides_before_that_of_any_label(write: Write, book: Path) -> None:
    policy = write(
        '[[reveals]]\nto = "everyone"\nat_most = 2\n'
        '[[reveals]]\nto = "everyone"\nwhat = "score"\nat_most = 1'
    )
    policy.claim(PROGRAM, [], [SCORE, LOSS, BARE], book)
    with pytest.raises(PolicyError, match=r"at most 1 .*\(line 4\)"):
        policy.check(PROGRAM, [], [SCORE], book)
    with pytest.raises(PolicyError, match=r"at most 2 .*\(line 1\)"):
        policy.check(PROGRAM, [], [LOSS], book)


def test_nothing_is_counted_in_a_broken_log(write: Write, book: Path) -> None:
    policy = write(FULL)
    policy.claim(PROGRAM, [], [SCORE], book)
    book.write_text(book.read_text().replace("everyone", "nobody"))
    with pytest.raises(LogError, match="line 1"):
        policy.check(PROGRAM, [], [TO_BOB], book)
    with pytest.raises(LogError, match="line 1"):
        policy.claim(PROGRAM, [], [TO_BOB], book)


def test_of_two_runs_at_once_one_gets_the_last_reveal(book: Path) -> None:
    once = Policy(reveals=(Rule("everyone", "score", 1),))
    start, refused = threading.Barrier(8), []

    def run() -> None:
        start.wait()
        try:
            once.claim(PROGRAM, [], [SCORE], book)
        except PolicyError as error:
            refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), log.verify(book).entries) == (7, 1)


RULE = '[[reveals]]\nto = "bob"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("program = []", r"program: unknown key\. Did you mean 'programs'\?"),
        ('programs = "ab"', "programs: must be an array, not a string"),
        ('programs = ["ab12"]', "programs: 'ab12' is no SHA-256: give all of its 64"),
        ("inputs = [1]", "inputs: must be an array of strings"),
        ("reveals = 3", "reveals: must be an array, not an integer"),
        ('reveals = ["score"]', r"reveals: must be tables\. Write \[\[reveals\]\]"),
        ("\n[[reveals]]", r"\[\[reveals\]\] \(line 2\): to: missing"),
        (f"{RULE}most = 1", r"\(line 1\): most: unknown key\. Did you mean 'at_most'\?"),
        (f"{RULE}at_most = -1", r"\(line 1\): at_most: must be 0 or more, not -1"),
        (f"{RULE}at_most = 1.0", r"at_most: must be an integer, not a number"),
        (f'{RULE}what = ""', r"what: is empty\. Leave it out"),
        (RULE.replace("bob", "all of them"), "to: 'all of them' is no name of a party"),
        (RULE + RULE, r"reveals: two rules for the same reveals \(line 3\)\. Keep one"),
        ("programs", "no TOML: "),
    ],
)
def test_mistakes_in_a_policy(write: Write, text: str, message: str) -> None:
    with pytest.raises(
        PolicyError, match=rf"policy\.toml: (\[\[reveals\]\] )?(\(line 1\): )?{message}"
    ):
        write(text)


def test_a_named_policy_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml: there is no such file\. Name the policy"):
        Policy.load(tmp_path / "none.toml")


def test_inline_rules_have_the_line_of_their_key(write: Write) -> None:
    policy = write('\nreveals = [{to = "bob"}, {to = "carol"}]')
    assert [rule.place for rule in policy.reveals or ()] == ["line 2", "line 2"]

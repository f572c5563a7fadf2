"""`playhead key new`, and answers that are signed from the command line, each in a process of its own."""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.events.approval import AnswerSent
from playhead.events.words import NOTHING
from playhead.sign import Signer
from tests.cli.shell import Shell, environment
from tests.projections.trusted import Told, tell

ASKS = """
from playhead import persona, request_approval


@persona
async def publishes(page: str) -> list:
    agreed = await request_approval("publish", args={"page": page}, reviewers=["ada", "bob"], quorum=2)
    return [[each["reviewer"], each["signed"], each.get("key")] for each in agreed.signatures]
"""
RUN = ("run", "asks.py:publishes", "--arg", "page=about")


@pytest.fixture
def home(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "400")
    (shell.directory / "asks.py").write_text(ASKS)
    keys = {name: [Signer.new(shell.directory / f"{name}.pem").public] for name in ("ada", "bob")}
    (shell.directory / "keys.json").write_text(json.dumps({"reviewers": keys}))
    return shell


def key_of(home: Shell, name: str) -> str:
    return Signer.from_file(home.directory / f"{name}.pem").key


def request_of(home: Shell) -> dict[str, Any]:
    (asked,) = home("approvals", "--json").document["approvals"]
    found: dict[str, Any] = asked
    return found


def test_people_sign_and_the_run_goes_on_with_what_they_signed(home: Shell) -> None:
    begun = home(*RUN, "--reviewer-keys", "keys.json")
    assert begun.code == 7, begun.err
    request = request_of(home)["request"]
    (home.directory / "keys.json").unlink()  # the run began with them, and nobody needs them any more

    assert home("approve", request, "--by", "ada", "--key", "ada.pem", "--reason", "fine").code == 0
    assert "1 answer on the way" in home("approvals").out
    assert home("resume", "@", "--program", "asks.py").code == 7
    assert "1 of 2" in home("approvals").out
    assert home("approve", request, "--by", "bob", PLAYHEAD_SIGNING_KEY="bob.pem").code == 0
    done = home("resume", "@", "--program", "asks.py", "--json")
    assert done.document["result"] == [[name, "valid", key_of(home, name)] for name in ("ada", "bob")]
    assert home("replay", "@", "--program", "asks.py").code == 0
    log = home("log", "@").out
    assert f"approve by ada with {key_of(home, 'ada')}: fine" in log
    assert "ada (valid), bob (valid)" in log


def test_a_signed_no_ends_it(home: Shell) -> None:
    home(*RUN, PLAYHEAD_REVIEWER_KEYS="keys.json")
    assert home("deny", "approval_", "--by", "bob", "--key", "bob.pem").code == 0
    done = home("resume", "@", "--program", "asks.py")
    assert (done.code, "was denied by bob" in done.out) == (1, True)


def test_what_somebody_forged_decides_nothing_for_those_who_sign(home: Shell) -> None:
    home(*RUN, "--reviewer-keys", "keys.json")
    asked = request_of(home)
    no = AnswerSent(request=asked["request"], word="deny", reviewer="bob", value=msgspec.Raw(NOTHING))
    tell(home.store, [Told(f"mailbox/{asked['run']}", time.time_ns(), "", no)])

    for name in ("ada", "bob"):
        done = home("approve", "approval_", "--by", name, "--key", f"{name}.pem")
        assert (done.code, "has no effect" in done.err) == (0, False), done.err
    again = home("approve", "approval_", "--by", "ada", "--key", "ada.pem")
    assert (again.code, "it was decided already" in again.err) == (1, True)
    assert home("resume", "@", "--program", "asks.py").code == 0


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("--by", "ada"), 1, "only what is signed counts here"),
    (("--by", "ada", "--key", "bob.pem"), 1, "is no key of ada"),
    (("--by", "ada", "--key", "keys.json"), 2, "others can use the private key in keys.json"),
    (("--by", "ada", "--key", "nowhere.pem"), 3, "nowhere.pem"),
]


def test_an_answer_that_could_never_count_is_refused_before_it_is_sent(home: Shell) -> None:
    (home.directory / "keys.json").chmod(0o644)
    run = home(*RUN, "--reviewer-keys", "keys.json").err.split()[1]
    for words, code, said in REFUSED:
        for command in (("approve",), ("approve", "--withdraw"), ("deny",)):
            done = home(*command, "approval_", *words)
            assert (done.code, said in done.err) == (code, True), (command, words, done.err)
    assert "--key FILE, or PLAYHEAD_SIGNING_KEY" in home("deny", "approval_", "--by", "ada").err
    assert "answer.sent" not in home("log", f"mailbox/{run}").out


def test_where_nobody_asks_for_keys_it_is_said_that_nothing_is_signed(home: Shell) -> None:
    home(*RUN)
    for name in ("ada", "bob"):
        done = home("approve", "approval_", "--by", name, "--key", f"{name}.pem")
        assert (done.code, "the answer is not signed" in done.err) == (0, True)
    done = home("resume", "@", "--program", "asks.py", "--json")
    assert done.document["result"] == [["ada", "unsigned", None], ["bob", "unsigned", None]]
    assert "ada (unsigned), bob (unsigned)" in home("log", "@").out


def test_a_key_is_made_once_and_for_its_owner(home: Shell) -> None:
    file = home.directory / "ada.pem"
    before = file.read_bytes()
    again = home("key", "new", "ada", "--out", "ada.pem")
    assert (again.code, "never written over" in again.err) == (2, True)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (before, 0o600)

    printed = home("key", "new", "dan", "--out", "dan.pem").out
    assert json.loads(f"{{{printed}}}") == {"dan": [Signer.from_file(home.directory / "dan.pem").public]}
    told = home("key", "new", " cy ", "--out", "cy.pem", "--json").document
    made = Signer.from_file(home.directory / "cy.pem")
    assert (told["name"], told["public"], told["key"], told["file"]) == (
        "cy",
        made.public,
        made.key,
        "cy.pem",
    )
    assert home("key", "new", "a\u200bda", "--out", "odd.pem").code == 2
    assert home("key", "new", "ada", "--out", "nowhere/ada.pem").code == 3
    assert not (home.directory / "odd.pem").exists()


@pytest.mark.parametrize("text", ["{}", '{"reviewers": {}}', "nothing"])
def test_what_is_no_keyring_starts_no_run(home: Shell, text: str) -> None:
    (home.directory / "keys.json").write_text(text)
    done = home(*RUN, "--reviewer-keys", "keys.json")
    assert (done.code, "keyring" in done.err) == (2, True)
    assert not home.store.exists()
    assert home(*RUN, "--reviewer-keys", "nowhere.json").code == 3


BLOCKS = """
import importlib.abc, sys


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
"""


def test_without_the_package_reading_works_and_what_needs_it_says_what_to_install(
    home: Shell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("without")
    (place / "sitecustomize.py").write_text(BLOCKS)
    without = os.pathsep.join([str(place), environment()["PYTHONPATH"]])
    home(*RUN, "--reviewer-keys", "keys.json")
    assert home("approve", "approval_", "--by", "ada", "--key", "ada.pem").code == 0
    assert home("resume", "@", "--program", "asks.py").code == 7

    assert "1 of 2" in home("approvals").out
    assert "? of 2" in home("approvals", PYTHONPATH=without).out
    assert home("log", "@", PYTHONPATH=without).code == 0
    for words in (
        ("key", "new", "cy", "--out", "cy.pem"),
        (*RUN, "--reviewer-keys", "keys.json"),
        ("resume", "@", "--program", "asks.py"),
        ("replay", "@", "--program", "asks.py"),
        ("approve", "approval_", "--by", "bob", "--key", "bob.pem"),
    ):
        done = home(*words, PYTHONPATH=without)
        assert (done.code, "pip install 'playhead[sign]'" in done.err) == (1, True), (words, done.err)


def test_a_tick_starts_runs_with_the_keyring_that_it_is_given(home: Shell) -> None:
    asking = ("--program", "asks.py")
    queued = home("persona", "trigger", "publishes", "--work-key", "a", "--arg", "page=a", *asking)
    assert queued.code == 0, queued.err
    assert home("persona", "tick", "publishes", *asking, PLAYHEAD_REVIEWER_KEYS="keys.json").code == 7
    assert set(request_of(home)["reviewer_keys"]) == {"ada", "bob"}


def test_a_snippet_of_its_own_runs_under_the_keyring(home: Shell) -> None:
    (home.directory / "one.snippet").write_text("return 1")
    done = home("compose", "run", "one.snippet", "--reviewer-keys", "keys.json", "--json")
    assert done.code == 0, done.err
    recorded = home("event", "@0", "--json").out
    assert Path(home.directory / "ada.pem").exists()
    assert Signer.from_file(home.directory / "ada.pem").public in recorded

"""`playhead trust …`: records are found, proven, passed on and judged again from the command line."""

import json
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from playhead.log.driver import sqlite
from playhead.log.reader import LogReader
from playhead.trust.chain import verify_chain
from playhead.trust.exchange import Producer, import_chain
from playhead.trust.record import hash_of
from playhead_projections.projector import models_path
from playhead_projections.trust_graph.graph import chain_of, events_of
from tests.cli.shell import Shell, environment
from tests.projections.recorded import unknown
from tests.projections.trusted import NOON_NS, SECOND_NS, Effect, Told, moved, recorded, story, tell

STORY = [
    *story(
        Effect("one", "0/save#0"),
        Effect("one", "0/save#1", verdict="ask", tier="act_with_approval"),
        Effect("two", "0/save#0", verdict="shadow", tier="shadow", agent="watcher"),
        Effect("one", "0/save#2", fails=True),
    ),
    Told("trust/watcher", NOON_NS + 90 * SECOND_NS, "", moved("watcher", "shadow", "suggest", reason="fine")),
]


@pytest.fixture
def home(shell: Shell) -> Shell:
    tell(shell.store, STORY)
    return shell


def trust(home: Shell, *words: str) -> Any:
    return home.here("trust", *words, "--json").document


def places(home: Shell, *words: str) -> list[int]:
    return [record["chain_index"] for record in trust(home, "query", *words)["records"]]


def break_kept(home: Shell, sql: str) -> None:
    home.here("trust", "query")
    with closing(sqlite.connect(models_path(home.store))) as db:
        db.execute(sql)
        db.commit()


# Finding.


def test_records_are_shown_with_who_acted_how_and_who_agreed(home: Shell) -> None:
    done = home.here("trust", "query")

    assert done.code == 0
    assert (
        "2  2026-04-19T12:00:15Z  audit    fs.write       success  act_with_approval  approval_granted"
        in done.out
    )
    assert "ada" in done.out.splitlines()[2]
    assert done.out.splitlines()[5].endswith("ada  trust/watcher@0  fine")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("--agent", "audit"), [1, 2, 4]),
        (("--agent", "audit", "--limit", "2"), [2, 4]),
        (("--action", "trust.promote"), [5]),
        (("--outcome", "failure"), [4]),
        (("--tier", "shadow"), [3]),
        (("--since", "2026-04-19T12:00:15Z", "--until", "2026-04-19T14:00:21+02:00"), [2, 3]),
        (("--as-of", "one@15"), [1, 2]),
        (("--as-of", "one@14"), [1]),
        (("--as-of", "2026-04-19T12:00:21Z"), [1, 2, 3]),
    ],
)
def test_records_are_found_by_what_is_asked(home: Shell, words: tuple[str, ...], found: list[int]) -> None:
    assert places(home, *words) == found


def test_the_root_as_of_then_is_the_hash_of_the_last_record_of_then(home: Shell) -> None:
    now, then = trust(home, "query"), trust(home, "query", "--as-of", "one@15")

    assert (then["total"], then["root_hash"]) == (2, now["records"][1]["entry_hash"])
    assert (now["total"], now["root_hash"]) == (5, now["records"][4]["entry_hash"])


def test_what_is_left_out_is_counted_and_the_way_to_see_it_is_said(home: Shell) -> None:
    assert trust(home, "query", "--limit", "2")["left_out"] == 3
    assert "… 3 older ones more: --limit 5" in home.here("trust", "query", "--limit", "2").out


def test_a_list_holds_the_newest_five_hundred_and_a_summary_counts_all(home: Shell) -> None:
    tell(home.store, [Told("run/many", NOON_NS + n, "", recorded()) for n in range(500)])

    listed, counted = trust(home, "query"), trust(home, "query", "--summary")

    assert (len(listed["records"]), listed["left_out"]) == (500, 5)
    assert sum(each["total"] for each in counted["agents"]) == 505


def test_what_belongs_to_one_run_stands_together(home: Shell) -> None:
    traces = trust(home, "query", "--by-trace")["traces"]

    assert [trace["trace_id"] for trace in traces] == ["one", "two", "trust/watcher@0"]
    assert [record["chain_index"] for record in traces[0]["records"]] == [1, 2, 4]
    assert home.here("trust", "query", "--by-trace").out.startswith("one\n  1  ")


def test_agents_are_summed_up(home: Shell) -> None:
    agents = trust(home, "query", "--summary")["agents"]

    assert [(each["agent"], each["total"]) for each in agents] == [("audit", 3), ("watcher", 2)]
    assert "1 failure, 2 success" in home.here("trust", "query", "--summary").out


def test_a_score_is_of_effects_and_says_what_follows(home: Shell) -> None:
    now = trust(home, "query", "--score", "--agent", "audit")["score"]
    then = trust(home, "query", "--score", "--agent", "audit", "--as-of", "one@15")["score"]
    watcher = trust(home, "query", "--score", "--agent", "watcher", "--action", "fs.write")["score"]

    assert (now["total"], now["successes"], now["latest_outcome"]) == (3, 2, "failure")
    assert now["policy"]["side_effect_level"] == "read_only"
    assert (then["total"], then["policy"]["side_effect_level"]) == (2, "desktop_control")
    assert (watcher["total"], watcher["effective_tier"]) == (0, "suggest")
    assert "audit: 3 effects, 67% success" in home.here("trust", "query", "--score", "--agent", "audit").out


def test_nothing_found_is_a_no(home: Shell) -> None:
    done = home.here("trust", "query", "--agent", "nobody")

    assert (done.code, done.out) == (1, "no records.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--summary", "--score", "--agent", "a"),
        ("--score",),
        ("--score", "--agent", "a", "--limit", "3"),
        ("--since", "yesterday"),
        ("--as-of", "yesterday"),
        ("--as-of", "one"),
        ("--tier", "free"),
    ],
)
def test_what_cannot_be_asked_like_that_is_said(home: Shell, words: tuple[str, ...]) -> None:
    assert home.here("trust", "query", *words).code == 2


def test_where_the_graph_stands_still_that_is_said(home: Shell) -> None:
    tell(home.store, [unknown("trust.recorded", NOON_NS)])

    done = home.here("trust", "query")

    assert (done.code, "the trust graph stops at run/odd@0" in done.err) == (0, True)
    assert trust(home, "query")["stopped_at"] == "run/odd@0"
    assert home.here("trust", "verify").code == 4


# Proving.


def test_a_whole_store_is_verified_and_tells_what_to_keep(home: Shell) -> None:
    done, told = home.here("trust", "verify"), trust(home, "verify")

    assert done.code == 0
    assert done.out.splitlines()[0] == "ok  5 records of trust_graph"
    assert done.out.splitlines()[-1].strip() == f"5:{told['root_hash']}"
    assert (told["verified"], told["total"], told["broken_at"]) == (True, 5, None)


def test_records_that_are_no_longer_kept_are_told_before_they_are_made_anew(home: Shell) -> None:
    break_kept(home, "delete from list_trust_graph where n = 5")

    assert home.here("trust", "verify").out.startswith("record 5: it is not kept\n")
    assert places(home) == [1, 2, 3, 4, 5]
    assert home.here("trust", "verify").code == 0


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_broken_chain_ends_with_four_whatever_the_form_of_the_answer(
    home: Shell, more: tuple[str, ...]
) -> None:
    break_kept(home, "update list_trust_graph set agent = 'eve' where n = 3")

    done = home.here("trust", "verify", *more)

    assert done.code == 4
    assert "record 3: kept with another agent than the log tells" in done.out


def test_a_log_that_was_changed_breaks_the_chain_also_where_nothing_was_kept(home: Shell) -> None:
    with LogReader(home.store) as log:
        event = next(events_of(log))
    assert event.payload is not None
    forged = event.payload.replace(b"success", b"failure")
    with closing(sqlite.connect(home.store)) as db:
        db.execute("update payloads set bytes = ? where position = ?", (forged, event.position))
        db.commit()

    done = home.here("trust", "verify")

    assert done.code == 4
    assert "the log is broken, 1 fault" in done.out


def test_a_root_that_was_kept_elsewhere_is_held_against_the_chain(home: Shell) -> None:
    root = trust(home, "query", "--as-of", "one@15")["root_hash"]

    assert home.here("trust", "verify", "--expect", f"2:{root}").code == 0
    assert home.here("trust", "verify", "--expect", f"3:{root}").code == 4
    assert home.here("trust", "verify", "--expect", f"9:{root}").code == 4
    assert home.here("trust", "verify", "--expect", root).code == 2


def test_after_a_rebuild_what_was_changed_is_as_the_log_tells(home: Shell) -> None:
    break_kept(home, "update list_trust_graph set agent = 'eve' where n = 3")

    assert home("rebuild").code == 0
    assert home.here("trust", "verify").code == 0
    assert places(home, "--agent", "watcher") == [3, 5]


# Passing on.


def test_the_whole_chain_goes_out_as_a_file_that_is_verified(home: Shell) -> None:
    done = home.here("trust", "export", "--out", "chain.json")
    found = import_chain((home.directory / "chain.json").read_bytes())

    assert (done.code, "5 records to chain.json" in done.err) == (0, True)
    assert (found.topic, found.producer) == ("trust_graph", Producer("playhead", version("playhead")))
    assert found.generated_at.endswith("Z")
    with LogReader(home.store) as log:
        assert list(found.records) == list(chain_of(log))
    assert home.here("trust", "verify", "chain.json").code == 0
    assert import_chain(home("trust", "export").out.encode()).records == found.records


def test_the_records_of_one_agent_are_a_chain_of_their_own_and_say_where_they_stand_in_the_whole(
    home: Shell,
) -> None:
    home.here("trust", "export", "--agent", "audit", "--out", "audit.json")
    found = import_chain((home.directory / "audit.json").read_bytes())
    with LogReader(home.store) as log:
        whole = list(chain_of(log))

    assert found.topic == "trust_graph.audit"
    assert verify_chain(found.records).verified
    assert [record.record_id for record in found.records] == [whole[n].record_id for n in (0, 1, 3)]
    for record in found.records:
        place = record.metadata["trust_graph"]
        assert whole[place["chain_index"] - 1].entry_hash == place["entry_hash"]
        assert record.entry_hash == hash_of(record) != place["entry_hash"]


def test_an_agent_without_records_has_no_chain(home: Shell) -> None:
    done = home.here("trust", "export", "--agent", "nobody", "--out", "none.json")

    assert done.code == 1
    assert not (home.directory / "none.json").exists()


def test_a_store_is_not_written_over_by_its_export(home: Shell) -> None:
    before = home.store.read_bytes()

    assert home.here("trust", "export", "--out", "runs.db").code == 2
    assert home.store.read_bytes() == before


def test_a_file_that_was_changed_is_broken_and_says_where(home: Shell) -> None:
    home.here("trust", "export", "--out", "chain.json")
    path = home.directory / "chain.json"
    path.write_text(path.read_text().replace('"outcome": "failure"', '"outcome": "success"'))

    done = home.here("trust", "verify", "chain.json")

    assert done.code == 4
    assert "at /records/3: entry_hash mismatch" in done.out
    assert home.here("trust", "verify", "chain.json", "--json").document["verified"] is False


def test_a_file_is_held_against_a_root_that_was_kept_elsewhere(home: Shell) -> None:
    home.here("trust", "export", "--out", "chain.json")
    root = trust(home, "verify")["root_hash"]

    assert home.here("trust", "verify", "chain.json", "--expect", f"5:{root}").code == 0
    assert home.here("trust", "verify", "chain.json", "--expect", f"4:{root}").code == 4
    assert home.here("trust", "verify", "chain.json", "--expect", f"6:{root}").code == 4


def test_records_of_a_later_version_break_nothing_and_are_not_vouched_for(home: Shell) -> None:
    home.here("trust", "export", "--out", "chain.json")
    path = home.directory / "chain.json"
    document = json.loads(path.read_text())
    document["records"][-1]["schema"] = "opentrustgraph/v7"
    path.write_text(json.dumps(document))

    done = home.here("trust", "verify", "chain.json")

    assert (done.code, "opentrustgraph/v7, which is not known here" in done.out) == (1, True)


@pytest.mark.parametrize(("text", "code"), [("{}", 2), ("no json", 2), (None, 3)])
def test_a_file_that_is_no_chain_is_refused(home: Shell, text: str | None, code: int) -> None:
    if text is not None:
        (home.directory / "x.json").write_text(text)

    assert home.here("trust", "verify", "x.json").code == code


# Judging again.


def policy_file(home: Shell, said: dict[str, Any]) -> Path:
    path = home.directory / "p.json"
    path.write_text(json.dumps(said))
    return path


def test_what_another_policy_would_have_said_is_told_where_it_differs(home: Shell) -> None:
    policy_file(home, {"autonomy": {"tier": "act_auto", "actions": {"fs.write": "act_with_approval"}}})

    done = home.here("trust", "what-if", "--policy", "p.json")
    told = home.here("trust", "what-if", "--policy", "p.json", "--json").document

    assert done.code == 1
    assert done.out.splitlines()[-1] == "4 effects, 3 would differ: 2 act → ask, 1 shadow → ask"
    assert [(each["was"], each["would_be"], each["differs"]) for each in told["effects"]] == [
        ("act", "ask", True),
        ("ask", "ask", False),
        ("shadow", "ask", True),
        ("act", "ask", True),
    ]
    assert told["differ"] == 3


def test_only_the_runs_that_are_named_are_judged_again(home: Shell) -> None:
    policy_file(home, {"autonomy": {"tier": "shadow"}})

    told = home.here("trust", "what-if", "--policy", "p.json", "two", "--json")

    assert told.code == 0
    assert [each["run"] for each in told.document["effects"]] == ["two"]


def test_a_policy_under_which_all_goes_as_it_did_is_a_yes(home: Shell) -> None:
    said = {"autonomy": {"tier": "act_auto", "agents": {"watcher": "shadow"}}, "policy": {}}
    policy_file(home, said)

    done = home.here("trust", "what-if", "--policy", "p.json", "two")

    assert (done.code, done.out) == (0, "1 effect, none would differ\n")


def test_a_file_that_holds_no_policy_is_refused(home: Shell) -> None:
    policy_file(home, {"autonomy": {"teir": "shadow"}})

    assert home.here("trust", "what-if", "--policy", "p.json").code == 2


# Grants.


def test_grants_of_a_run_are_told_with_who_gave_them(home: Shell) -> None:
    done = home.here("trust", "grants", "one")
    told = home.here("trust", "grants", "one", "--json").document

    assert done.code == 0
    assert "granted  audit  save fs.write  by ada" in done.out
    assert [grant["by"] for grant in told["grants"]] == [[], ["ada"], []]
    assert home.here("trust", "grants", "one@5", "--json").document["grants"][0]["outcome"] == "completed"


def test_a_run_in_which_something_happened_without_a_grant_is_a_no(home: Shell) -> None:
    tell(home.store, story(Effect("three", "0/save#0", verdict=None)))

    done = home.here("trust", "grants", "three")

    assert done.code == 1
    assert "ungranted  audit  save fs.write  by nobody  completed  nothing decided" in done.out


def test_reading_trust_loads_nothing_that_runs_programs(home: Shell) -> None:
    home.here("trust", "query")
    tell(home.store, [Told("run/four", NOON_NS, "", recorded())])
    code = (
        "import sys\nfrom playhead_projections.cli import cli\n"
        "cli(['trust', 'query'], standalone_mode=False)\n"
        "print({'asyncio', 'pydantic', 'structlog', 'aiosqlite'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home.directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "set()"

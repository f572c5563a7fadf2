"""A receipt says what the log says, is the same whenever it is made, and is checked without a log."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.errors import BadValue, Corrupt, NotFound
from playhead.events import approval
from playhead.events import catalog as facts
from playhead.events.words import Usage
from playhead.log import checkpoints
from playhead.log.checkpoints import checkpoints_path, parse
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.sign import Signer
from playhead_projections.accounts import TERMINAL
from playhead_projections.evidence import agents_protocol, proof, run_receipt
from playhead_projections.evidence.bundle import bundle
from playhead_projections.evidence.canonical import written
from playhead_projections.evidence.checking import check_file, check_receipt
from playhead_projections.evidence.envelope import opened, sealed
from playhead_projections.evidence.gathered import gather_run
from playhead_projections.evidence.unpacking import check_bundle
from playhead_projections.projector import state_at
from playhead_projections.run_report import RunReport
from tests.evidence.generated import WORDS, generated
from tests.evidence.making import attested, attested_shortly, by_script, checkpointed, erase
from tests.projections import recorded as shared
from tests.projections.recorded import started, unknown, write

RUN = "aaaaaaaaaaaa"


def of(recorded: tuple[Path, list[str]], word: str) -> dict[str, Any]:
    """The receipt of the run that only does this."""
    path, runs = recorded
    return attested(path, runs[WORDS.index(word)])


def copied(recorded: tuple[Path, list[str]], tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    shutil.copy(recorded[0], path)
    shutil.copy(checkpoints_path(recorded[0]), checkpoints_path(path))
    return path


def check_all(
    path: Path, runs: list[str], signer: Signer, directory: Path, *, by_script_every: int = 1
) -> None:
    """The rule of this page, for each of these runs; the script, which takes its time, is asked of some."""
    keys = {"ada": (signer.public,)}
    files: list[Path] = []
    for number, run in enumerate(runs):
        long, short = attested(path, run), attested_shortly(path, run)
        agents_protocol.check(long)
        assert set(short) == run_receipt.KEYS
        assert written(attested(path, run)) == written(long)
        assert written(attested_shortly(path, run)) == written(short)
        told = {"long": sealed(signer, long), "short": sealed(signer, short)}
        for name, data in told.items():
            assert check_file(data, keys).faults == []
            if number % by_script_every == 0:
                files.append(directory / f"{run}-{name}.json")
                files[-1].write_bytes(data)
        assert check_file(written(long), {}).faults == check_file(written(short), {}).faults == []
    done = by_script(*files, "--key", signer.public)
    assert (done.returncode, f"\n{done.stdout}".count("\nok ")) == (0, len(files)), done.stdout + done.stderr


# Of every kind of run.


def test_receipts_of_generated_runs_are_valid_made_again_the_same_and_checked_offline(
    recorded: tuple[Path, list[str]], ada: Signer, tmp_path: Path
) -> None:
    path, runs = recorded

    check_all(path, runs, ada, tmp_path, by_script_every=3)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_runs_of_another_seed_are_like_that(seed: int, ada: Signer, tmp_path: Path) -> None:
    path, runs = generated(tmp_path, 200, seed)
    checkpointed(path, ada)

    check_all(path, runs, ada, tmp_path)


def test_a_receipt_and_the_report_of_a_run_count_the_same(recorded: tuple[Path, list[str]]) -> None:
    path, runs = recorded
    for run in runs:
        found = attested(path, run)
        with LogReader(path) as log:
            report = state_at(log, RunReport(), f"run/{run}").state
        tools = [one for one in report.operations.values() if one.kind == "tool"]
        consumed = found["autonomy_budget"]["consumed"]
        assert consumed["tool_calls"] == len(found["side_effects"]["tool_calls"]) == len(tools)
        assert consumed.get("input_tokens") == report.used.input_tokens.value
        assert found["cost"]["total"] == (report.used.cost_micros.value or 0) / 1_000_000
        assert found["metadata"]["playhead"]["unknown"]["cost_of_calls"] == report.used.cost_micros.unknown
        assert found["lifecycle"]["final_state"][:4].lower() in {report.life.status[:4], "succ"}
        called = {"completed": "succeeded", "failed": "failed"}
        assert [one["status"] for one in found["side_effects"]["tool_calls"]] == [
            called.get(one.status, "canceled") for one in tools
        ]


def test_a_log_that_goes_on_leaves_receipts_as_they_are(
    recorded: tuple[Path, list[str]], ada: Signer, tmp_path: Path
) -> None:
    path, runs = copied(recorded, tmp_path), recorded[1]
    before = [written(attested(path, run)) for run in runs]
    shared.record(path, (shared.audit, [1, 2]))
    checkpointed(path, ada)

    assert [written(attested(path, run)) for run in runs] == before


def test_without_a_checkpoint_a_receipt_is_proven_under_an_unsigned_one_that_does_not_change(
    tmp_path: Path, ada: Signer
) -> None:
    path = tmp_path / "runs.db"
    (run,) = shared.record(path, (shared.audit, [1, 2]))
    before = attested(path, run)
    shared.record(path, (shared.busy,))

    assert written(attested(path, run)) == written(before)
    assert check_receipt(before, {}).said[-1].endswith("is unsigned")
    (fault,) = check_receipt(before, {"ada": (ada.public,)}).faults
    assert fault.endswith("signed with none of the keys.")
    assert check_file(sealed(ada, before), {"ada": (ada.public,)}).faults == []


# What it says.


def test_what_a_workspace_wrote_is_said_with_hashes_where_they_are_known(
    recorded: tuple[Path, list[str]],
) -> None:
    def writes(word: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = of(recorded, word)["side_effects"]["fs_writes"]
        return found

    def hashed(content: bytes) -> str:
        return f"sha256:{sha256(content).hexdigest()}"

    (file,) = writes("file")
    assert file["operation"] == "modify"
    assert file["after_sha256"] == hashed("line 0 \u00fc\n".encode())
    assert [(one["operation"], one.get("after_sha256")) for one in writes("append")] == [("modify", None)]
    assert [(one["operation"], one.get("after_sha256")) for one in writes("folder")] == [("modify", None)]
    two = hashed(b"\0\1")
    assert [one.get("after_sha256") for one in writes("copy")] == [two, two]
    assert [
        (one["path"][-5:], one["operation"], one.get("before_sha256"), one["after_sha256"])
        for one in writes("move")
    ] == [
        ("a.bin", "modify", None, two),
        ("a.bin", "rename", two, None),
        ("b.bin", "rename", None, two),
    ]
    assert [
        (one["operation"], one.get("before_sha256", "?"), one["after_sha256"]) for one in writes("remove")
    ] == [
        ("modify", "?", hashed(b"gone")),
        ("delete", hashed(b"gone"), None),
        ("create", None, hashed(b"here again")),
    ]


def test_calls_children_and_models_are_said(recorded: tuple[Path, list[str]]) -> None:
    again = of(recorded, "again")["side_effects"]["tool_calls"][0]
    broken = of(recorded, "breaks")["side_effects"]["tool_calls"][0]
    child = of(recorded, "child")["side_effects"]["a2a_handoffs"][0]
    failing = of(recorded, "failing child")["side_effects"]["a2a_handoffs"][0]
    published = of(recorded, "publish")["side_effects"]["network_egress"][0]

    assert (again["status"], again["metadata"]["attempts"]) == ("succeeded", 2)
    assert broken["status"] == "failed"
    assert (child["target_agent"], child["status"]) == ("helper", "completed")
    assert attested(recorded[0], child["task_id"])["receipt_id"] == child["receipt_id"]
    assert attested(recorded[0], child["task_id"])["identifiers"]["session_id"] != child["task_id"]
    assert failing["status"] == "failed"
    assert (published["destination"], published["purpose"]) == ("tool publish", "network.call")
    assert of(recorded, "denied")["metadata"]["playhead"]["unknown"]["calls_denied"] == 1
    assert of(recorded, "state")["final_artifacts"][-1]["artifact_id"].endswith("/notes.json@1")


def test_the_model_that_answered_most_is_the_chosen_one_and_what_it_cost_is_said(
    recorded: tuple[Path, list[str]],
) -> None:
    everything = attested(recorded[0], recorded[1][len(WORDS)])
    route, cost = everything["model_route"], everything["cost"]

    assert (route["chosen_model"]["provider"], route["chosen_model"]["model"]) == ("oracle", "oracle-1")
    assert {one["model"] for one in route["alternatives_considered"]} == {"oracle-2", "oracle"}
    assert cost["total"] == pytest.approx(sum(one["amount"] for one in cost["provider_breakdown"]))
    assert cost["total"] > 0
    assert everything["metadata"]["playhead"]["unknown"]["cost_of_calls"] == 1
    nobody = of(recorded, "read")["model_route"]
    assert (nobody["chosen_model"]["model"], nobody["route_policy_reason"]) == ("none", "no model was asked")


def test_who_agreed_and_who_did_not_is_said_and_the_event_that_says_so_is_proven(
    recorded: tuple[Path, list[str]],
) -> None:
    asks = attested(recorded[0], recorded[1][3])
    denied = attested(recorded[0], recorded[1][4])

    assert [(one["actor"], one["decision"]) for one in asks["approvals"]] == [
        ("ada", "approved"),
        ("bob", "approved"),
    ]
    assert asks["approvals"][0]["quorum_proof"] == {"required": 2, "satisfied": 2, "signed": "unsigned"}
    assert [(one["actor"], one["decision"]) for one in denied["approvals"]] == [
        ("ada", "approved"),
        ("bob", "denied"),
    ]
    assert denied["approvals"][0]["quorum_proof"] == {"required": 2}
    for one in (asks, denied):
        proven = {f"sha256:{each['digest']}" for each in one["metadata"]["playhead"]["evidence"]}
        assert {each["evidence_hash"] for each in one["approvals"]} == proven


@pytest.mark.parametrize(("asked_for", "who"), [(None, "paula"), ("", "unknown"), ("carla", "carla")])
def test_a_request_is_cancelled_by_who_cancelled_and_who_agreed_before_is_said(
    tmp_path: Path, ada: Signer, asked_for: str | None, who: str
) -> None:
    path, null = tmp_path / "runs.db", msgspec.Raw(b"\xc0")
    asked = approval.ApprovalRequested(
        request="r", kind="approval", action="deploy", digest="d", args=null, detail=null,
        principal="paula", reviewers=("ada", "ben", "cy"), quorum=3,
    )  # fmt: skip

    def says(reviewer: str, word: Any) -> tuple[str, Any]:
        return "0/a#0", approval.ApprovalAnswered(
            request="r", word=word, reviewer=reviewer, value=null, message=1, said_at=5
        )

    words = [says("ada", "approve"), says("ben", "approve"), says("ben", "withdraw"), says("eve", "approve")]
    cancel = [] if asked_for is None else [("", facts.RunCancelRequested(message=2, sender=asked_for))]
    ends = [("0/a#0", facts.OperationCancelled()), ("", facts.RunCancelled(reason="enough"))]
    write(path, RUN, started(), ("0/a#0", asked), *words, *cancel, *ends)
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    found = attested(path, RUN)
    assert [(one["actor"], one["decision"]) for one in found["approvals"]] == [
        ("ada", "approved"),
        (who, "canceled"),
    ]
    assert len(found["metadata"]["playhead"]["evidence"]) == 2


def test_trust_is_the_tier_that_the_policies_name_or_acting_alone(recorded: tuple[Path, list[str]]) -> None:
    child = of(recorded, "child")["side_effects"]["a2a_handoffs"][0]["task_id"]

    assert attested(recorded[0], child)["trust"]["start_tier"] == "act_auto"
    assert attested(recorded[0], child)["trust"]["policy_ref"].startswith(f"run/{child}@")
    assert of(recorded, "read")["trust"]["end_tier"] == "act_auto"


def test_no_payload_of_a_run_stands_in_its_receipt_and_secrets_are_named(
    recorded: tuple[Path, list[str]],
) -> None:
    path, runs = recorded
    everything = written(attested(path, runs[WORDS.index("secret")])).decode()
    redactions = of(recorded, "secret")["redactions"]

    assert "hunter2" not in everything
    assert {one["reason"] for one in redactions} == {"a secret"}
    assert all(one["proof_hash"].startswith("sha256:") for one in redactions)
    assert sha256(b'"page 2"').hexdigest() not in everything


def test_a_relaxed_run_is_replayed_as_well_as_can_be(recorded: tuple[Path, list[str]]) -> None:
    path, runs = recorded
    found = {attested(path, run)["replay_input"]["determinism"] for run in runs}

    assert found == {"byte_deterministic", "best_effort"}


# Odd runs.


def test_an_erased_payload_is_named_and_proofs_and_hashes_stay(
    recorded: tuple[Path, list[str]], ada: Signer, tmp_path: Path
) -> None:
    path, run = copied(recorded, tmp_path), recorded[1][WORDS.index("publish")]
    before = attested(path, run)
    call = before["side_effects"]["tool_calls"][0]
    for seq in (0, call["metadata"]["seq"], call["metadata"]["ended_seq"]):
        erase(path, f"run/{run}", seq, f"asked for {seq}")
    checkpointed(path, ada)
    after = attested(path, run)

    check_all(path, [run], ada, tmp_path)
    assert [one["reason"] for one in after["redactions"]] == [f"asked for {seq}" for seq in (0, *_ends(call))]
    assert after["redactions"][1]["proof_hash"] == call["input_hash"]
    kept = after["side_effects"]["tool_calls"][0]
    assert [kept[key] for key in ("call_id", "tool", "input_hash", "output_hash", "status")] == [
        call[key] for key in ("call_id", "tool", "input_hash", "output_hash", "status")
    ]
    assert after["replay_input"]["determinism"] == "unavailable"
    assert f"@{call['metadata']['ended_seq']}" in after["replay_input"]["unavailable_reason"]
    assert len(after["metadata"]["playhead"]["evidence"]) == 3
    assert after["identifiers"].get("persona_ref") is None


def test_what_was_kept_of_an_erased_event_still_backs_what_is_said_of_it(
    recorded: tuple[Path, list[str]], ada: Signer, tmp_path: Path
) -> None:
    path, run = copied(recorded, tmp_path), recorded[1][WORDS.index("file")]
    before = attested(path, run)
    seq = before["side_effects"]["tool_calls"][0]["metadata"]["seq"]
    erase(path, f"run/{run}", seq, "asked for", "/args/text")
    checkpointed(path, ada)
    after = attested(path, run)

    check_all(path, [run], ada, tmp_path)
    assert after["side_effects"]["tool_calls"] == before["side_effects"]["tool_calls"]
    (write_,) = before["side_effects"]["fs_writes"]
    assert after["side_effects"]["fs_writes"] == [{key: write_[key] for key in ("path", "operation")}]
    assert after["replay_input"]["unavailable_reason"] == f"erased: run/{run}@{seq}"
    assert [one["field"] for one in after["redactions"]] == [f"run/{run}@{seq}/args/text"]
    with LogReader(path) as log:
        assert check_bundle(bundle(log, run), {"ada": (ada.public,)}).faults == []

    erase(path, f"run/{run}", 0, "asked for", "/args/place")
    checkpointed(path, ada)
    gone = attested(path, run)
    assert gone["identifiers"] == before["identifiers"]
    assert (gone["replay_input"]["determinism"], gone["replay_input"]["unavailable_reason"]) == (
        "unavailable",
        f"erased: run/{run}@0, run/{run}@{seq}",
    )


def _ends(call: dict[str, Any]) -> tuple[int, int]:
    return call["metadata"]["seq"], call["metadata"]["ended_seq"]


def test_every_payload_of_a_run_can_be_erased(
    recorded: tuple[Path, list[str]], ada: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "EVIDENCE_MAX", 10)
    path, run = copied(recorded, tmp_path), recorded[1][len(WORDS)]
    with LogReader(path) as log:
        count = log.head(f"run/{run}").seq
    erase(path, f"run/{run}", range(count), "all of it")
    checkpointed(path, ada)

    check_all(path, [run], ada, tmp_path)
    assert len(attested(path, run)["redactions"]) == count
    about = attested(path, run)["metadata"]["playhead"]
    assert (len(about["evidence"]), about["evidence_left_out"]) == (10, count - 10)


def test_events_of_a_newer_playhead_are_counted_and_not_guessed(tmp_path: Path, ada: Signer) -> None:
    path = tmp_path / "runs.db"
    write(
        path, RUN, started(), unknown("dream.dreamt"), ("", facts.RunCompleted(result=msgspec.Raw(b"\x01")))
    )
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    assert attested(path, RUN)["metadata"]["playhead"]["unknown"]["events_of_newer_types"] == 1


def test_numbers_that_no_model_can_have_used_are_left_out(tmp_path: Path, ada: Signer) -> None:
    path = tmp_path / "runs.db"
    asked = facts.ModelCalled(client="m\u00fcller \U0001f600", model=None, request=msgspec.Raw(b"\x80"))
    answers = [
        facts.ModelAnswered(reply=msgspec.Raw(b"\xc0"), usage=Usage(input_tokens=2**60), cost_micros=2**48),
        facts.ModelAnswered(reply=msgspec.Raw(b"\xc0"), usage=Usage(output_tokens=-5), cost_micros=-9),
        facts.ModelAnswered(reply=msgspec.Raw(b"\xc0"), cost_micros=2**61),
    ]
    told = [each for n, one in enumerate(answers) for each in ((f"0/m#{n}", asked), (f"0/m#{n}", one))]
    write(path, RUN, started("p\x1b[2J"), *told, ("", facts.RunCompleted(result=msgspec.Raw(b"\x01"))))
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    consumed = attested(path, RUN)["autonomy_budget"]["consumed"]
    assert "input_tokens" not in consumed
    assert "output_tokens" not in consumed


def test_what_cost_less_than_nothing_cost_nothing(tmp_path: Path, ada: Signer) -> None:
    path = tmp_path / "runs.db"
    asked = facts.ModelCalled(client="m", model=None, request=msgspec.Raw(b"\x80"))
    answer = facts.ModelAnswered(reply=msgspec.Raw(b"\xc0"), cost_micros=-9)
    ends = ("", facts.RunCompleted(result=msgspec.Raw(b"\x01")))
    write(path, RUN, started(), ("0/m#0", asked), ("0/m#0", answer), ends)
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    assert attested(path, RUN)["cost"]["total"] == 0


def test_a_call_that_was_given_up_is_cancelled_and_its_outcome_unknown(tmp_path: Path, ada: Signer) -> None:
    path = tmp_path / "runs.db"
    asked = facts.ToolRequested(tool="send", args=msgspec.Raw(b"\x80"), effect="effect")
    cancelled = facts.OperationCancelled()
    ends = ("", facts.RunCancelled(reason="enough"))
    write(path, RUN, started(), ("0/send#0", asked), ("0/send#1", asked), ("0/send#1", cancelled), ends)
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    first, second = attested(path, RUN)["side_effects"]["tool_calls"]
    assert (first["status"], first["metadata"]["outcome"]) == ("canceled", "unknown")
    assert (second["status"], second["metadata"]["ended_seq"]) == ("canceled", 3)
    assert attested(path, RUN)["lifecycle"]["failure"] == {"reason": "enough"}


def test_a_fork_says_what_it_was_made_from_and_what_was_edited(tmp_path: Path, ada: Signer) -> None:
    path = tmp_path / "runs.db"
    first = started()[1]
    edits = [
        {
            "what": "outcome",
            "of": "0/ask#0",
            "event": 7,
            "before": "ab" * 32,
            "after": "cd" * 32,
            "key": "llm:0/ask#0",
        }
    ]
    forked = {
        "run": "bbbbbbbbbbbb",
        "event": 9,
        "digest": "00" * 32,
        "mode": "with_overrides",
        "events": 3,
        "outcomes": 1,
        "edits": edits,
        "reason": "what if",
    }
    payload = {**msgspec.msgpack.decode(msgspec.msgpack.encode(first)), "forked": forked}
    event = NewEvent("run.started", 1, 1, "", None, msgspec.msgpack.encode(payload))
    asked = facts.ToolRequested(tool="send", args=msgspec.Raw(b"\x80"), effect="effect")
    done = facts.ToolCompleted(result=msgspec.Raw(b"\xc0"))
    said: list[Any] = [("0/send#0", asked), ("0/send#0", done), ("0/send#1", asked), ("0/send#1", done)]
    write(path, RUN, event, *said, ("", facts.RunCompleted(result=msgspec.Raw(b"\x01"))))
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    with LogReader(path) as log:
        assert check_bundle(bundle(log, RUN), {}).faults == []
    found = attested(path, RUN)
    calls = found["side_effects"]["tool_calls"]
    assert [one["metadata"].get("copied", False) for one in calls] == [True, False]
    assert found["metadata"]["playhead"]["forked"] == forked
    assert found["identifiers"]["branch_id"] == "run/bbbbbbbbbbbb@9"
    assert found["deltas"] == [
        {
            "delta_id": f"run/{RUN}@0#0",
            "operation": "replace",
            "path": "/outcome/0/ask#0",
            "override_key": "llm:0/ask#0",
            "event_id": "run/bbbbbbbbbbbb@7",
            "before_sha256": f"sha256:{'ab' * 32}",
            "after_sha256": f"sha256:{'cd' * 32}",
            "reason": "what if",
        }
    ]


def test_a_log_that_somebody_else_wrote_may_hold_anything(tmp_path: Path, ada: Signer) -> None:
    path = tmp_path / "runs.db"
    first = msgspec.msgpack.decode(msgspec.msgpack.encode(started()[1]))
    odd = {
        **first,
        "policy": {"autonomy": [1]},
    }
    told: list[Any] = [
        NewEvent("run.started", 1, -(2**63), "", None, msgspec.msgpack.encode(odd)),
        (
            "0/w#0",
            facts.ToolRequested(
                tool="write_file", args=msgspec.Raw(b"\xa1\xff"), effect="effect", side_effect="fs.write"
            ),
        ),
        ("0/w#0", facts.ToolCompleted(result=msgspec.Raw(b"\xc0"))),
        (
            "0/w#1",
            facts.ToolRequested(
                tool="write_file", args=msgspec.Raw(b"\x91\x01"), effect="effect", side_effect="fs.write"
            ),
        ),
        ("0/w#1", facts.ToolCompleted(result=msgspec.Raw(b"\xc0"))),
        ("0/w#7", facts.ToolCompleted(result=msgspec.Raw(b"\xc0"))),
        ("", facts.RunCompleted(result=msgspec.Raw(b"\x01"))),
    ]
    write(path, RUN, *told)
    checkpointed(path, ada)

    check_all(path, [RUN], ada, tmp_path)
    assert attested(path, RUN)["side_effects"]["fs_writes"] == []


def test_of_a_run_that_is_not_over_there_is_no_receipt(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, RUN, started())
    with LogReader(path) as log:
        gathered = gather_run(log, RUN)
        assert gathered.life.status not in TERMINAL
        with pytest.raises(NotFound, match="no run"):
            gather_run(log, "zzzzzzzzzzzz")
    for make in (attested, attested_shortly):
        with pytest.raises(BadValue, match="not over"):
            make(path, RUN)


def test_a_checkpoint_of_another_log_that_lies_beside_is_passed_over(tmp_path: Path, ada: Signer) -> None:
    path, other = tmp_path / "runs.db", tmp_path / "other.db"
    (run,) = shared.record(path, (shared.busy,))
    shared.record(other, (shared.audit, [1, 2]))
    checkpoints.keep(path, checkpointed(other, ada))

    assert parse(attested(path, run)["metadata"]["playhead"]["checkpoint"]).signatures == ()


def test_a_log_that_is_not_what_its_checkpoint_says_gives_no_receipt(tmp_path: Path, ada: Signer) -> None:
    path, other = tmp_path / "runs.db", tmp_path / "other.db"
    (run,) = shared.record(path, (shared.busy,))
    shared.record(other, (shared.busy,))
    text = checkpointed(other, ada)
    with LogReader(path) as log:
        mine = checkpoints.origin_of(log)
    forged = checkpoints.signed(
        ada, parse(text).body.replace(parse(text).origin, mine).replace("\n8\n", "\n8\n")
    )
    checkpoints.keep(path, forged)

    with pytest.raises(Corrupt, match="the log is not what the checkpoint"):
        attested(path, run)


# What it is wrapped in.


def test_an_envelope_is_as_in_toto_and_dsse_say(
    recorded: tuple[Path, list[str]], ada: Signer, bob: Signer
) -> None:
    document = of(recorded, "read")
    data = sealed(ada, document)
    found = opened(data)
    statement = json.loads(
        found.signed.partition(b" " + str(len(found.signed)).encode())[0].split(b" ", 4)[4]
    )

    assert found.signed.startswith(b"DSSEv1 28 application/vnd.in-toto+json ")
    assert statement["predicateType"] == "urn:playhead:receipt:1"
    assert statement["subject"][0]["digest"]["sha256"] == document["chain"]["receipt_hash"][7:]
    assert found.receipt == document
    assert found.signer({"bob": (bob.public,), "ada": (ada.public,)}) == "ada"
    assert found.signer({"bob": (bob.public,)}) is None
    assert sealed(ada, document) == data


def test_the_lines_of_the_short_receipt_add_up_to_all_calls_of_the_run(
    recorded: tuple[Path, list[str]],
) -> None:
    path, runs = recorded
    for run in runs:
        short, long = attested_shortly(path, run)["model_calls"], attested(path, run)
        with LogReader(path) as log:
            used = gather_run(log, run).used
        assert sum(one["llm_calls"] for one in short) == used.model_calls
        assert sum(one["input_tokens"] or 0 for one in short) == (used.input_tokens.value or 0)
        assert sum(one["cost_usd"] or 0 for one in short) == pytest.approx(long["cost"]["total"])
    everything = attested_shortly(path, runs[len(WORDS)])["model_calls"]
    assert [(one["step"], one["llm_calls"]) for one in everything] == [("ask", 1), (None, 3)]


def test_the_short_receipt_has_a_line_for_each_step_that_asked(recorded: tuple[Path, list[str]]) -> None:
    path, runs = recorded
    found = attested_shortly(path, runs[WORDS.index("step")])

    assert [(one["step"], one["llm_calls"], one["status"]) for one in found["model_calls"]] == [
        ("ask", 1, "completed")
    ]
    assert found["schema"] == run_receipt.SCHEMA
    assert found["cost_usd"] == attested(path, runs[WORDS.index("step")])["cost"]["total"]

"""What a receipt says of a run of which something was erased: what is unknown is never told as something."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.events import approval, autonomy, rules
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.composition import CompositionCompleted
from playhead.events.fact import Fact, type_of
from playhead.log.reader import LogReader
from playhead.runtime.tape import Tape
from playhead_projections.evidence import agents_protocol
from tests.evidence.making import attested, attested_shortly, erase
from tests.projections.recorded import started, write

RUN = "aaaaaaaaaaaa"
NIL = msgspec.Raw(b"\xc0")
ASKED = "approval_1"

TOLD: list[tuple[str, Fact]] = [
    ("", rules.PolicyNarrowed(persona="p", policy={"autonomy": [{"tier": "shadow"}]})),
    ("0/send#0", autonomy.StandingFound(tier="shadow")),
    (
        "0/send#0",
        autonomy.AutonomyDecided(
            agent="p", tool="send", action="network", verdict="shadow", tier="shadow", cause="tier", reason=""
        ),
    ),
    (
        "0/approval#0",
        approval.ApprovalRequested(
            request=ASKED, kind="approval", action="publish", digest="", args=NIL, detail=NIL, principal="p",
            reviewers=("ada", "bob"), due=None, quorum=1,
        ),
    ),
    (
        "0/approval#0",
        approval.ApprovalAnswered(
            request=ASKED, word="deny", reviewer="bob", value=NIL, message=0, said_at=1
        ),
    ),
    ("0/approval#0", approval.ApprovalDenied(request=ASKED, reviewer="bob")),
    ("0/race#0", facts.RaceDecided(winner=1)),
    ("0/c#0", CompositionCompleted(result=NIL, steps=0, calls=0)),
    ("0/send#1", facts.OperationResolved(action="value", by="ada")),
    ("", facts.RunCompleted(result=NIL)),
]  # fmt: skip
SEQS = {type_of(fact): seq for seq, (_, fact) in enumerate(TOLD, 1)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "runs.db", RUN, started(), *TOLD)
    return tmp_path / "runs.db"


def receipt(path: Path) -> dict[str, Any]:
    made = attested(path, RUN)
    agents_protocol.check(made)
    return made


def test_a_run_can_be_replayed_as_far_as_its_receipt_says(path: Path) -> None:
    assert receipt(path)["replay_input"]["determinism"] == "byte_deterministic"
    for type_, seq in SEQS.items():
        if type_ in ("operation.resolved", "run.completed"):
            continue
        erase(path, f"run/{RUN}", seq, "asked for")
        with LogReader(path) as log:
            lost = Tape(RUN, log.scan(f"run/{RUN}"), CATALOG).lost
        said = receipt(path)["replay_input"]
        assert seq in lost
        assert said["determinism"] == "unavailable"
        assert said["unavailable_reason"] == f"erased: {', '.join(f'run/{RUN}@{one}' for one in lost)}"


def test_what_the_world_alone_knew_is_no_loss_for_a_replay(path: Path) -> None:
    erase(path, f"run/{RUN}", SEQS["operation.resolved"], "asked for")

    assert receipt(path)["replay_input"]["determinism"] == "byte_deterministic"


def test_a_tier_that_was_erased_is_unknown_and_not_the_laxest(path: Path) -> None:
    trust = {"start_tier": "shadow", "end_tier": "shadow", "policy_ref": f"run/{RUN}@1"}
    whole = receipt(path)
    assert whole["trust"] == trust
    assert "trust" not in whole["metadata"]["playhead"]["unknown"]

    erase(path, f"run/{RUN}", SEQS["policy.narrowed"], "asked for")
    one = receipt(path)
    erase(path, f"run/{RUN}", SEQS["autonomy.decided"], "asked for")
    both = receipt(path)

    del trust["policy_ref"]
    assert one["trust"] == both["trust"] == trust
    assert one["metadata"]["playhead"]["unknown"]["trust"] == ["start_tier"]
    assert both["metadata"]["playhead"]["unknown"]["trust"] == ["start_tier", "end_tier"]


@pytest.mark.parametrize(
    ("part", "unknown", "tier"),
    [
        ("/policy/note", None, "suggest"),
        ("/policy/autonomy/0/tier", ["start_tier", "end_tier"], "shadow"),
        ("/policy/autonomy", ["start_tier", "end_tier"], "shadow"),
        ("/policy", ["start_tier", "end_tier"], "shadow"),
    ],
)
def test_of_a_policy_that_was_erased_in_part_only_what_it_said_of_tiers_is_unknown(
    tmp_path: Path, part: str, unknown: list[str] | None, tier: str
) -> None:
    path = tmp_path / "runs.db"
    policy: dict[str, Any] = {"autonomy": [{"tier": "suggest"}], "note": "ada"}
    narrowed = ("", rules.PolicyNarrowed(persona="p", policy=policy))
    write(path, RUN, started(), narrowed, ("", facts.RunCompleted(result=NIL)))
    erase(path, f"run/{RUN}", 1, "asked for", part)

    said = receipt(path)
    assert said["metadata"]["playhead"]["unknown"].get("trust") == unknown
    assert said["trust"]["end_tier"] == tier


@pytest.mark.parametrize(
    ("erased", "actor"),
    [
        (("approval.denied",), "bob"),
        (("approval.answered",), "bob"),
        (("approval.denied", "approval.answered"), "unknown"),
    ],
)
def test_a_no_stays_a_no_when_it_was_erased(path: Path, erased: tuple[str, ...], actor: str) -> None:
    (before,) = receipt(path)["approvals"]
    for type_ in erased:
        erase(path, f"run/{RUN}", SEQS[type_], "asked for")

    assert receipt(path)["approvals"] == [{**before, "actor": actor}]
    assert [one["actor"] for one in attested_shortly(path, RUN)["approvals"]] == [actor]


def test_a_yes_that_was_erased_is_still_a_yes_of_somebody(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    grant = facts_of_a_yes()
    write(path, RUN, started(), *grant, ("", facts.RunCompleted(result=NIL)))
    erase(path, f"run/{RUN}", 2, "asked for")
    erase(path, f"run/{RUN}", 3, "asked for")

    (said,) = receipt(path)["approvals"]
    assert (said["actor"], said["decision"], said["action"]) == ("unknown", "approved", "publish")


def facts_of_a_yes() -> list[tuple[str, Fact]]:
    said = approval.ApprovalAnswered(
        request=ASKED, word="approve", reviewer="ada", value=NIL, message=0, said_at=1
    )
    granted = approval.ApprovalGranted(request=ASKED, digest="", args=NIL, granted=())
    return [TOLD[3], ("0/approval#0", said), ("0/approval#0", granted)]


@pytest.mark.parametrize("part", [(), ("/args",), ("/side_effect",), ("/tool",)])
def test_a_call_of_which_nobody_knows_what_it_did_is_counted_and_a_model_was_asked_all_the_same(
    tmp_path: Path, part: tuple[str, ...]
) -> None:
    path = tmp_path / "runs.db"
    args = msgspec.Raw(msgspec.msgpack.encode({"path": "a.txt", "text": "hello"}))
    wrote = facts.ToolRequested(tool="write_file", args=args, effect="idempotent", side_effect="fs.write")
    done = facts.ToolCompleted(result=NIL)
    asked = facts.ModelCalled(client="tiny", model=None, request=NIL)
    said: list[tuple[str, Fact]] = [("0/write_file#0", wrote), ("0/write_file#0", done), ("0/tiny#0", asked)]
    write(path, RUN, started(), *said, ("", facts.RunCompleted(result=NIL)))
    whole = receipt(path)
    erase(path, f"run/{RUN}", 1, "asked for", *part)
    erase(path, f"run/{RUN}", 3, "asked for")

    erased = receipt(path)
    assert len(whole["side_effects"]["fs_writes"]) == 1
    assert "effects_of_calls" not in whole["metadata"]["playhead"]["unknown"]
    assert erased["side_effects"]["fs_writes"] == []
    assert erased["metadata"]["playhead"]["unknown"]["effects_of_calls"] == 1
    assert erased["side_effects"]["network_egress"] == whole["side_effects"]["network_egress"]

"""Sessions as directories: what is written comes back, and what could mean something else is refused."""

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.agent_state.directory import Kept, read_directory, write_directory
from playhead.agent_state.keys import Place, folded, folders
from playhead.agent_state.writers import writer
from playhead.errors import BadValue
from tests.agent_state.nobody import as_nobody
from tests.checkout import ROOT

PLACE = Place.of("notes", "s1")
KEPT = [
    Kept("__handoff.json", {"_type": "agent_state_handoff", "n": 1.0, "none": None}, writer("a"), 5),
    Kept("evidence/a.json", '{"a": 1}', writer("b", "stage", "s1", "w"), 7),
    Kept("evidence/b.md", "é\r\nline\n"),
    Kept("plan.md", ""),
    Kept("plan.md.json", [1, True, "x"]),
]


def test_what_is_written_comes_back_as_it_was(tmp_path: Path) -> None:
    place = write_directory(PLACE, KEPT, tmp_path)
    assert place == tmp_path / "s1"
    assert (place / "evidence" / "a.json").read_text() == '{"a": 1}'
    assert (place / "evidence" / "b.md").read_bytes() == "é\r\nline\n".encode()
    meta = json.loads((place / ".agent_state_meta" / "evidence" / "a.json.json").read_text())
    assert meta == {
        "sha256": sha256(b'{"a": 1}').hexdigest(),
        "writer": {"writer_id": "b", "stage_id": "stage", "session_id": "s1", "worker_id": "w"},
        "updated_at": 7,
    }
    back = read_directory(place)
    assert back == KEPT
    assert type(back[0].content["n"]) is float
    assert [path.name for path in tmp_path.iterdir()] == ["s1"]


def test_a_handoff_is_a_file_that_people_can_read(tmp_path: Path) -> None:
    place = write_directory(PLACE, [Kept("__handoff.json", {"task": "é", "open": ["a"]})], tmp_path)
    assert (place / "__handoff.json").read_text().splitlines() == [
        "{",
        '  "task": "é",',
        '  "open": [',
        '    "a"',
        "  ]",
        "}",
    ]


def test_an_export_in_the_place_of_an_earlier_one_leaves_no_directory_without_keys(tmp_path: Path) -> None:
    write_directory(PLACE, KEPT, tmp_path)
    place = write_directory(PLACE, [Kept("plan.md", "x")], tmp_path, force=True)
    assert sorted(path.name for path in place.iterdir()) == [".agent_state_meta", "plan.md"]
    assert not (place / ".agent_state_meta" / "evidence").exists()


def test_keys_whose_notes_would_meet_are_written_too(tmp_path: Path) -> None:
    kept = [
        Kept("README/x", "1", writer("a")),
        Kept("a", "2", writer("b")),
        Kept("a.json/b", [3], writer("c")),
        Kept("a.json/b.json/c", "4", writer("d")),
    ]
    place = write_directory(PLACE, kept, tmp_path)
    assert read_directory(place) == sorted(kept, key=lambda one: one.key.encode())
    write_directory(PLACE, kept, tmp_path, force=True)


def test_what_another_tool_wrote_is_read_without_its_notes(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "plan.md").write_text("x")
    (tmp_path / "s" / "left.agent_state_tmp.1").write_text("half")
    (tmp_path / "s" / ".agent_state_meta").mkdir()
    (tmp_path / "s" / ".agent_state_meta" / "plan.md.json").write_text('{"writer": {"writer_id": 5}, "updat')
    assert read_directory(tmp_path / "s") == [Kept("plan.md", "x")]


@pytest.mark.parametrize(
    "said", ["[" * 50_000, '{"a":' * 10_000, "null", "[]", '{"writer": {"writer_id": "x"}}' + " " * 70_000]
)
def test_what_is_no_short_json_object_is_no_note(tmp_path: Path, said: str) -> None:
    place = write_directory(PLACE, [Kept("plan.md", "x", writer("a"))], tmp_path)
    (place / ".agent_state_meta" / "plan.md.json").write_text(said)
    assert read_directory(place) == [Kept("plan.md", "x")]


def test_who_wrote_a_file_before_somebody_edited_it_is_not_its_writer(tmp_path: Path) -> None:
    kept = [Kept(key, value, writer("a"), 5) for key, value in (("j", {"n": 1}), ("k", [1]), ("t", "1"))]
    place = write_directory(PLACE, kept, tmp_path)
    (place / "j").write_text('{"n": 2}')
    (place / "k").write_text("[1")
    (place / "t").write_text("2")
    assert read_directory(place) == [Kept("j", {"n": 2}), Kept("k", "[1"), Kept("t", "2")]


def test_a_note_that_says_nothing_of_what_is_in_the_file_is_believed(tmp_path: Path) -> None:
    kept = [Kept("j", {"n": 1}, writer("a"), 5), Kept("t", "1", writer("b"), 6)]
    place = write_directory(PLACE, kept, tmp_path)
    for one in kept:
        path = place / ".agent_state_meta" / f"{one.key}.json"
        said = json.loads(path.read_text())
        del said["sha256"]
        path.write_text(json.dumps(said))
    (place / "j").write_text('{"n": 2}')
    assert read_directory(place) == [kept[0]._replace(content={"n": 2}), kept[1]]
    (place / "j").write_text("{")
    with pytest.raises(BadValue, match="'j': it is no JSON"):
        read_directory(place)


def test_what_may_be_json_too_deep_to_tell_does_not_become_a_text(tmp_path: Path) -> None:
    place = write_directory(PLACE, [Kept("j", [1])], tmp_path)
    for deep in ("[" * 100_000 + "]" * 100_000, "9" * 5000):
        (place / "j").write_text(deep)
        with pytest.raises(BadValue, match="'j': it is no JSON"):
            read_directory(place)


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x1b[31m"])
def test_a_name_that_no_writer_has_is_nobody_and_stops_nothing(tmp_path: Path, name: str) -> None:
    place = write_directory(PLACE, [Kept("j", [1], writer("a"), 5), Kept("t", "x", writer("b"), 6)], tmp_path)
    for said in ({"writer_id": name}, {"writer_id": "a", "stage_id": name}):
        note = place / ".agent_state_meta" / "j.json"
        note.write_text(json.dumps({"writer": said, "updated_at": 5, "content": "json"}))
        assert read_directory(place) == [Kept("j", [1]), Kept("t", "x", writer("b"), 6)]


def test_a_directory_is_called_by_its_name_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    (tmp_path / "s" / "con").write_text("x")
    monkeypatch.chdir(tmp_path / "s" / "deep")
    for named in ("..", "../../s", "../../s/."):
        with pytest.raises(BadValue, match=r"^s cannot be taken in: 'con': key 'con' is the name"):
            read_directory(Path(named))


def test_what_a_desktop_leaves_behind_is_no_key_unless_somebody_wrote_it(tmp_path: Path) -> None:
    kept = [Kept("desktop.ini", "kept", writer("a")), Kept("plan.md", "x")]
    place = write_directory(PLACE, kept, tmp_path)
    for name in (".DS_Store", "Thumbs.db"):
        (place / name).write_bytes(b"\x00\xff")
    (place / "evidence").mkdir()
    (place / "evidence" / "desktop.ini").write_bytes(b"\xff")
    assert read_directory(place) == kept
    write_directory(PLACE, kept, tmp_path, force=True)
    assert not (place / ".DS_Store").exists()


def test_a_key_that_lies_in_another_is_written_nowhere(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="'a/b' would lie in 'A', which holds a value"):
        write_directory(PLACE, [Kept("A", "1"), Kept("a/b", "2")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_everything_that_cannot_be_taken_in_is_named_at_once(tmp_path: Path) -> None:
    place = tmp_path / "s"
    (place / "sub").mkdir(parents=True)
    (place / "fine").write_text("x")
    (place / "binary").write_bytes(b"\xff\xfe")
    (place / "con.txt").write_text("x")
    (place / "link").symlink_to("/etc/passwd")
    (place / "sub" / "up").symlink_to("..")
    os.mkfifo(place / "pipe")
    (place / "Plan").write_text("1")
    (place / "plan").write_text("2")
    with pytest.raises(BadValue) as caught:
        read_directory(place)
    assert caught.value.found == 6
    for name in ("binary", "con.txt", "link", "pipe"):
        assert name in caught.value.message
    assert "and 1 more" in caught.value.message


def test_no_note_behind_a_link_is_believed(tmp_path: Path) -> None:
    kept = [Kept("a", "1", writer("me")), Kept("d/e/b", "2", writer("me"))]
    write_directory(
        Place.of("notes", "evil"), [one._replace(writer=writer("evil")) for one in kept], tmp_path
    )
    evil = "../../evil/.agent_state_meta"
    for n, (name, leads) in enumerate(
        [("a.json", f"{evil}/a.json"), ("d", f"{evil}/d"), ("d/e", f"../{evil}/d/e")]
    ):
        place = write_directory(Place.of("notes", f"s{n}"), kept, tmp_path)
        link = place / ".agent_state_meta" / name
        link.rename(tmp_path / f"moved{n}")
        link.symlink_to(leads)
        assert link.exists()
        with pytest.raises(BadValue, match=r"its note in \.agent_state_meta: it is no file") as caught:
            read_directory(place)
        assert caught.value.found == 1


def test_what_may_not_be_read_is_named_and_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [Kept("a", "1"), Kept("b/c", "2"), Kept("d", "3", writer("me")), Kept("e/f", "4", writer("me"))]
    place = write_directory(PLACE, kept, tmp_path)
    closed = [place / "a", place / "b", *(place / ".agent_state_meta" / name for name in ("d.json", "e"))]
    for path in (tmp_path, place, place / "e", place / ".agent_state_meta"):
        path.chmod(0o755)
    for path in closed:
        path.chmod(0)
    monkeypatch.chdir(tmp_path)
    with as_nobody(), pytest.raises(BadValue) as caught:
        read_directory(Path("s1"))
    for path in closed:
        path.chmod(0o700)
    assert caught.value.found == 4
    for said in (
        "'a': it cannot be read",
        "'b': it cannot be read",
        "'d': its note in",
        "'e/f': its note in",
    ):
        assert said in caught.value.message
    assert read_directory(place) == kept


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_file_that_changes_at_the_last_moment_leads_nowhere(tmp_path: Path, what: str) -> None:
    write_directory(PLACE, [Kept("a", "mine")], tmp_path)
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "link").symlink_to("../outside")
    os.mkfifo(tmp_path / "pipe")
    done = subprocess.run(
        [sys.executable, "-c", CHANGED, what],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "s1 cannot be taken in: 'a': it is no file.\n", done.stderr


CHANGED = """
import os, pathlib, sys
from playhead.agent_state.directory import read_directory
from playhead.errors import BadValue

def audit(event, arguments):
    if event == "open" and os.path.basename(str(arguments[0])) == "a" and os.path.lexists(sys.argv[1]):
        os.replace(sys.argv[1], "s1/a")

sys.addaudithook(audit)
try:
    print(read_directory(pathlib.Path("s1")))
except BadValue as error:
    print(error.message)
"""


@pytest.mark.parametrize("name", ["s1", "deep/s1", "deep/er/s1"])
def test_a_session_inside_of_a_directory_is_to_be_imported_by_itself(tmp_path: Path, name: str) -> None:
    place = write_directory(PLACE, KEPT, (tmp_path / "out" / name).parent)
    (place / "evidence" / "link").symlink_to("..")
    with pytest.raises(BadValue) as caught:
        read_directory(tmp_path / "out")
    assert caught.value.found == 1
    assert f"{name!r}: it is a session of its own: import it by itself" in caught.value.message
    (tmp_path / "out" / ".agent_state_meta").mkdir()
    with pytest.raises(BadValue, match="session of its own"):
        read_directory(tmp_path / "out")


def test_a_directory_in_which_no_key_could_lie_is_not_gone_into(tmp_path: Path) -> None:
    parts = ["d" * 100] * 2 + ["e" * 98, "f", "g"]  # 300 bytes down to "e", as the longest key
    (tmp_path / "s").joinpath(*parts).mkdir(parents=True)
    with pytest.raises(BadValue, match="it is deeper than a key can be") as caught:
        read_directory(tmp_path / "s")
    assert caught.value.found == 1


def test_a_session_that_somebody_put_into_another_one_is_not_replaced_with_it(tmp_path: Path) -> None:
    place = write_directory(PLACE, KEPT, tmp_path)
    (place / "deep" / ".agent_state_meta").mkdir(parents=True)
    with pytest.raises(BadValue, match="holds what no export wrote: 'deep'"):
        write_directory(PLACE, KEPT, tmp_path, force=True)


def test_what_is_no_directory_holds_no_session(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("file", "nowhere", "link"):
        with pytest.raises(BadValue, match="no directory"):
            read_directory(tmp_path / name)


def test_what_stands_there_stays_unless_an_export_wrote_all_of_it_and_force_is_said(tmp_path: Path) -> None:
    write_directory(PLACE, KEPT, tmp_path)
    with pytest.raises(BadValue, match="--force"):
        write_directory(PLACE, KEPT[:1], tmp_path)
    write_directory(PLACE, KEPT[:1], tmp_path, force=True)
    assert read_directory(tmp_path / "s1") == KEPT[:1]
    (tmp_path / "s1" / "mine.txt").write_text("x")
    with pytest.raises(BadValue, match=r"holds what no export wrote: mine\.txt"):
        write_directory(PLACE, KEPT, tmp_path, force=True)
    assert (tmp_path / "s1" / "mine.txt").read_text() == "x"
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("s1")
    for name in ("file", "folder", "link"):
        other = Place.of("notes", name)
        for force in (False, True):
            with pytest.raises(BadValue, match=r"already|no export wrote"):
                write_directory(other, KEPT, tmp_path, force=force)


@pytest.mark.parametrize(
    "said", ["{home}/up", "../../up", "a/../b", "a//b", " a", "", "con", ".agent_state_meta/a"]
)
def test_what_is_no_key_is_not_written_wherever_it_comes_from(tmp_path: Path, said: str) -> None:
    key = said.format(home=tmp_path)
    with pytest.raises(BadValue, match="key") as caught:
        write_directory(PLACE, [KEPT[0], Kept(key, "x")], tmp_path / "deep" / "out", force=True)
    assert repr(key) in str(caught.value) or not key
    assert list(tmp_path.iterdir()) == []


PARTS = st.text(st.sampled_from("abAB.é ß-1"), min_size=1, max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.lists(PARTS, min_size=1, max_size=3).map("/".join), st.text() | JSON, max_size=6))
def test_any_session_that_can_be_kept_comes_back(tmp_path_factory: Any, values: dict[str, Any]) -> None:
    kept: dict[str, Kept] = {}
    for said, value in values.items():
        try:
            key = Place.key(said)
        except BadValue:
            continue
        names = {folded(key), *map(folded, folders(key))}
        taken = {name for one in kept.values() for name in (folded(one.key), *map(folded, folders(one.key)))}
        if value is not None and folded(key) not in taken and not names & set(kept):
            kept[folded(key)] = Kept(key, value)
    try:
        place = write_directory(PLACE, kept.values(), tmp_path_factory.mktemp("d"))
    except UnicodeEncodeError:
        return  # half a character, which no log lets in
    back = read_directory(place)
    written = sorted(kept.values(), key=lambda one: one.key.encode())
    assert [(one.key, json.dumps(one.content)) for one in back] == [
        (one.key, json.dumps(one.content)) for one in written
    ]


def test_killed_at_any_moment_a_session_is_whole_or_not_there(tmp_path: Path) -> None:
    script = KILLED
    for there in (False, True):
        codes: list[int] = []
        for moment in range(0, 60, 4):
            out = tmp_path / f"{there}{moment}" / "out"
            out.mkdir(parents=True)
            if there:
                write_directory(PLACE, KEPT, out)
            paths = os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")])
            done = subprocess.run(
                [sys.executable, "-c", script, str(moment)],
                cwd=out.parent,
                env={**os.environ, "PYTHONPATH": paths},
                check=False,
            )
            codes.append(done.returncode)
            if (out / "s1").exists():
                assert read_directory(out / "s1") in (NEW, KEPT)
            else:  # where two names cannot be exchanged at once, the old one lies whole beside its place
                assert not there or read_directory(next(out.glob(".s1.*/old"))) == KEPT
        assert codes[0] == -signal.SIGKILL
        assert codes[-1] == 0


NEW = [Kept(f"folder{n % 3}/key{n}", "new" * n) for n in (0, 3, 1, 4, 2, 5)]
KILLED = """
import os, pathlib, signal, sys
from playhead.agent_state.directory import Kept, write_directory
from playhead.agent_state.keys import Place

left = int(sys.argv[1])

def audit(event, arguments):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove") and ".s1." in str(arguments):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

kept = [Kept(f"folder{n % 3}/key{n}", "new" * n) for n in range(6)]
sys.addaudithook(audit)
write_directory(Place.of("notes", "s1"), kept, pathlib.Path("out"), force=True)
"""

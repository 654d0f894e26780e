"""What a node must not forget, on a real disk in a temporary directory."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from heartbeat.persistence import FILE, DirectoryLock, StoreError, VoteStore
from heartbeat.persistent_state import Granted, Leadership, PersistentState, PersistentStateError, decode, encode
from heartbeat.proof import VoterList

KEPT = PersistentState(
    incarnation=41,
    serial=9,
    first=False,
    non_voting=False,
    voters=VoterList(701, ("gw1", "gw2", "m2"), 2),
    leadership=Leadership(8, "m2", 13, False),
    granted=(Granted(9, "m1", 4, "ab" * 16), Granted(8, "m2", 13), Granted(7, "", 0)),
    ended=("cd" * 16,),
)


def test_everything_comes_back_and_the_boot_counter_rises_on_disk_first(tmp_path: Path) -> None:
    store = VoteStore(tmp_path / "state", "gw1")
    store.write(FILE, encode(KEPT))
    first = store.start()
    assert (first.incarnation, first.serial) == (42, 10)
    assert first.voters == KEPT.voters and first.leadership == KEPT.leadership and first.granted == KEPT.granted
    assert VoteStore(tmp_path / "state", "gw1").start().incarnation == 43


def test_files_of_versions_without_secrets_are_read_and_they_read_ours() -> None:
    assert decode(encode(KEPT)) == KEPT
    ours = json.loads(encode(KEPT))
    assert ours["granted"] == [[9, "m1", 4], [8, "m2", 13], [7, "", 0]], "as they have it"
    del ours["commitments"], ours["ended"]
    old = decode(json.dumps(ours))
    assert old.granted[0] == Granted(9, "m1", 4) and old.ended == ()


def test_a_node_without_its_file_has_no_vote_but_is_heard(tmp_path: Path) -> None:
    state = VoteStore(tmp_path, "gw1").start()
    assert state.non_voting and state.voters == VoterList() and state.leadership == Leadership()
    assert state.incarnation >= int(time.time()), "above every counter that it may have had"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', encode(KEPT)[:-20], encode(KEPT).replace("701", "x")])
def test_a_corrupt_file_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError, match="move it away, start again, then `b2bua readmit gw1`"):
        VoteStore(tmp_path, "gw1").start()
    assert (tmp_path / FILE).read_text() == text, "and left as it is"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",
        b"\0" * 4096,
        b"[" * 100_000,
        encode(KEPT).replace('"boot": 41', '"boot": Infinity').encode(),
        encode(KEPT).replace('"boot": 41', '"boot": -7').encode(),
        encode(KEPT).replace('"boot": 41', '"boot": 9007199254740993').encode(),
        encode(KEPT).replace('"mute": false', '"mute": "false"').encode(),
        encode(KEPT).replace('[9, "m1", 4]', '["9.5", "m1", 4]').encode(),
        encode(KEPT).replace('"voters": "701:2:gw1,gw2,m2"', '"voters": null').encode(),
    ],
)
def test_whatever_a_bad_disk_makes_of_the_file_it_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StoreError, match="move it away") as refused:
        VoteStore(tmp_path, "gw1").start()
    assert len(str(refused.value)) < 400 and (tmp_path / FILE).read_bytes() == data


def test_a_disk_that_refuses_says_so_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VoteStore(tmp_path, "gw1")
    store.write(FILE, encode(KEPT))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="cannot be written: No space left on device; free the disk"):
        store.write(FILE, encode(PersistentState(incarnation=99)))
    assert decode((tmp_path / FILE).read_text()) == KEPT, "the old file is whole"


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be (read|written)"):
        VoteStore(tmp_path / "file", "gw1").start()


def test_text_and_value_are_each_other() -> None:
    for state in (
        KEPT,
        PersistentState(incarnation=1),
        PersistentState(incarnation=0, first=True, non_voting=False, voters=VoterList(1, ("gw1",), 1)),
    ):
        assert decode(encode(state)) == state
    with pytest.raises(PersistentStateError):
        decode('{"boot": "x"}')


def test_two_processes_of_one_node_do_not_write_one_file(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path / "m1", "m1")
    with pytest.raises(StoreError, match=r"another process runs as m1: it holds .*; stop that one first"):
        DirectoryLock(tmp_path / "m1", "m1")
    first.end()
    DirectoryLock(tmp_path / "m1", "m1").end()


def test_a_state_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "m1").write_text("")
    with pytest.raises(StoreError, match=r"m1 cannot be used: .*; give the program its directory"):
        DirectoryLock(tmp_path / "m1", "m1")

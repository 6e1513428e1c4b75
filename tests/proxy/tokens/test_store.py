"""The file that keeps a refresh token."""

import json
import multiprocessing
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimic_proxy.tokens.store import StoredToken, StoreError, TokenStore, digest

FIRST, SECOND = StoredToken("refresh-1", digest("seed")), StoredToken("refresh-2", digest("seed"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.json"


@pytest.fixture
def store(file: Path) -> Iterator[TokenStore]:
    """A store that was opened."""
    made = TokenStore(file)
    assert made.open() is None
    yield made
    made.close()


def test_what_was_written_is_read_after_a_restart(store: TokenStore, file: Path) -> None:
    store.write(FIRST)
    store.write(SECOND)
    store.close()
    again = TokenStore(file)
    assert again.open() == SECOND
    again.close()


def test_only_its_owner_may_read_it(store: TokenStore, file: Path) -> None:
    store.write(FIRST)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    store.write(SECOND)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_temporary_file_is_left(store: TokenStore, file: Path) -> None:
    store.write(FIRST)
    assert {each.name for each in file.parent.iterdir()} == {"store.json", "store.json.lock"}


def test_a_write_that_fails_leaves_what_was_there(
    store: TokenStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(FIRST)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"cannot be written \(No space left"):
        store.write(SECOND)
    monkeypatch.undo()
    assert json.loads(file.read_text())["refresh_token"] == "refresh-1"
    assert {each.name for each in file.parent.iterdir()} == {"store.json", "store.json.lock"}


def test_it_is_written_whole_before_it_takes_its_place(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda handle: (order.append("sync"), fsync(handle))[1])
    monkeypatch.setattr("os.replace", lambda old, new: (order.append("rename"), replace(old, new))[1])
    store.write(FIRST)
    assert order == ["sync", "rename", "sync"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"refresh_token": "x"}', '"words"', "\xff"])
def test_a_file_of_somebody_else_is_left_alone(file: Path, content: str) -> None:
    file.write_text(content, "latin-1")
    with pytest.raises(StoreError, match="does not hold a refresh token"):
        TokenStore(file).open()
    assert file.read_text("latin-1") == content


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no folder"):
        TokenStore(tmp_path / "nowhere" / "store.json").open()


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "store.json").mkdir()
    with pytest.raises(StoreError, match="cannot be used"):
        TokenStore(tmp_path / "store.json").open()


def _opens(file: Path, answers: "multiprocessing.Queue[str]") -> None:
    store = TokenStore(file)
    try:
        store.open()
        answers.put("opened")
    except StoreError as error:
        answers.put(str(error))
    store.close()


def test_two_processes_never_share_one(store: TokenStore, file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    for expected in ("is used by another Mimic", "opened"):
        process = context.Process(target=_opens, args=(file, answers))
        process.start()
        assert expected in answers.get(timeout=30)
        process.join()
        store.close()


def test_neither_representation_nor_digest_gives_a_secret_away(file: Path) -> None:
    assert "refresh-1" not in repr(FIRST)
    assert "seed" not in digest("seed")
    assert digest("a\udcff") != digest("a")

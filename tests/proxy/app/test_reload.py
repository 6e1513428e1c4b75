"""Changed files are noticed: in place, by rename, by Kubernetes' swapped links."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.loop import LoopFaults
from mimic_proxy.app.reload import Watch, Watcher, secret_files, secret_problems
from mimic_proxy.settings.fields import SecretRef, Settings


class Calls:
    """Counts what a watcher calls."""

    def __init__(self) -> None:
        self.count = 0
        self.called = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self.called.set()


class Later:
    """Timers of the loop that run when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.timers: list[asyncio.TimerHandle] = []

    def __call__(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(delay, callback, args, self.loop, context)
        self.timers.append(timer)
        return timer

    def run(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            if not timer.cancelled():
                timer._run()


@pytest.fixture
async def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    loop = asyncio.get_running_loop()
    timers = Later(loop)
    monkeypatch.setattr(loop, "call_later", timers)
    return timers


async def look(watcher: Watcher) -> None:
    watcher.look()
    await asyncio.sleep(0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "code"
    path.write_text("first")
    return path


def write(file: Path) -> None:
    file.write_text("second")


def fill(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


def rename(file: Path) -> None:
    (file.parent / "staged").write_text("other")
    os.replace(file.parent / "staged", file)


def touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def mend_permissions(file: Path) -> None:
    file.chmod(0o640)


@pytest.mark.parametrize("change", [write, rename, touch, mend_permissions])
async def test_a_change_is_told_once(file: Path, change: Callable[[Path], None]) -> None:
    calls = Calls()
    watcher = Watcher([Watch((file,), calls)])
    await look(watcher)
    assert calls.count == 0
    change(file)
    await look(watcher)
    await look(watcher)
    assert calls.count == 1


async def test_a_swapped_link_above_the_file_is_a_change(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code").write_text("same length")
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "code").symlink_to("..data/code")
    calls = Calls()
    watcher = Watcher([Watch((tmp_path / "code",), calls)])
    (tmp_path / "..tmp").symlink_to("v2")
    os.replace(tmp_path / "..tmp", tmp_path / "..data")
    await look(watcher)
    assert calls.count == 1


async def test_a_file_that_appears_is_a_change(tmp_path: Path) -> None:
    calls = Calls()
    watcher = Watcher([Watch((tmp_path / "later",), calls)])
    await look(watcher)
    (tmp_path / "later").write_text("here")
    await look(watcher)
    assert calls.count == 1


async def test_a_file_that_goes_is_warned_of_once_and_its_return_is_a_change(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    watcher = Watcher([Watch((file,), calls)])
    remove(file)
    await look(watcher)
    await look(watcher)
    assert (calls.count, len(caplog.records)) == (0, 1)
    assert str(file) in caplog.text
    write(file)
    await look(watcher)
    assert calls.count == 1


async def test_files_that_belong_together_are_told_of_together(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "key"
    other.write_text("key")
    pair, single = Calls(), Calls()
    watcher = Watcher([Watch((file, other), pair), Watch((other,), single)])
    write(file)
    await look(watcher)
    assert (pair.count, single.count) == (1, 0)
    write(file)
    os.utime(file, ns=(2, 2))
    os.utime(other, ns=(2, 2))
    await look(watcher)
    assert (pair.count, single.count) == (2, 1)


async def test_a_file_written_in_place_is_a_change_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "alice").write_text("key")
    (folder / "dangling").symlink_to("nowhere")
    calls = Calls()
    watcher = Watcher([Watch((folder,), calls)])
    await look(watcher)
    assert calls.count == 0
    (folder / "alice").write_text("another")
    await look(watcher)
    await look(watcher)
    assert calls.count == 1


async def test_what_changes_while_watchers_are_exchanged_is_told(file: Path) -> None:
    calls = Calls()
    watch = Watch((file,), calls)
    before = Watcher([watch])
    write(file)
    watcher = Watcher([watch], before=before)
    await look(watcher)
    assert calls.count == 1


async def test_a_file_that_is_being_written_is_told_of_once_it_is_whole(file: Path, later: Later) -> None:
    calls = Calls()
    watcher = Watcher([Watch((file,), calls, settle=0.2)])
    fill(file, "")
    watcher.look()
    fill(file, "half")
    later.run()
    assert calls.count == 0
    later.run()
    assert calls.count == 1
    fill(file, "whole")
    watcher.look()
    watcher.close()
    later.run()
    assert calls.count == 1


async def test_a_callback_that_fails_stops_no_other(file: Path, loop_faults: LoopFaults) -> None:
    failures: list[object] = []
    loop_faults(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise RuntimeError("broken")

    calls = Calls()
    watcher = Watcher([Watch((file,), fail), Watch((file,), calls)])
    write(file)
    await look(watcher)
    assert (len(failures), calls.count) == (1, 1)


async def test_it_looks_by_itself_until_it_is_closed(file: Path) -> None:
    calls = Calls()
    watcher = Watcher([Watch((file,), calls)], interval=0.01)
    watcher.start()
    for second in (5, 6):
        os.utime(file, ns=(second, second))
        await calls.called.wait()
        calls.called.clear()
    watcher.close()
    watcher.close()
    assert calls.count == 2
    assert watcher._timer is None


async def test_nothing_to_watch_costs_no_timer() -> None:
    watcher = Watcher([Watch((), Calls())])
    watcher.start()
    assert watcher._timer is None


def test_the_files_of_secrets_are_those_of_the_settings() -> None:
    settings = Settings(
        chat_api_url="https://b.example",
        embedding_api_url="https://b.example",
        auth_code=SecretRef("AUTH_CODE", file=Path("/run/code")),
        client_secret=SecretRef("CLIENT_SECRET", "plain"),
        access_token=SecretRef("ACCESS_TOKEN", file=Path("/run/token")),
    )
    assert secret_files(settings) == (Path("/run/code"), Path("/run/token"))


def test_a_secrets_file_is_missing_empty_or_there(tmp_path: Path) -> None:
    there, empty = tmp_path / "there", tmp_path / "empty"
    there.write_text("planted")
    empty.touch()
    settings = Settings(
        chat_api_url="https://b.example",
        embedding_api_url="https://b.example",
        auth_code=SecretRef("AUTH_CODE", file=there),
        client_secret=SecretRef("CLIENT_SECRET", file=empty),
        refresh_token=SecretRef("REFRESH_TOKEN", file=tmp_path / "no"),
        access_token=SecretRef("ACCESS_TOKEN", "plain"),
    )
    found = secret_problems(settings)
    assert {each["name"]: (each["file"], each["problem"]) for each in found} == {
        "AUTH_CODE": (str(there), None),
        "CLIENT_SECRET": (str(empty), "empty"),
        "REFRESH_TOKEN": (str(tmp_path / "no"), "missing"),
    }

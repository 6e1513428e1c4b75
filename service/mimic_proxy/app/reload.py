"""Notices that files have changed: the YAML file of settings, and those of secrets and certificates that it names.

By looking once a second rather than by inotify: Kubernetes swaps a symbolic link two levels above the file, editors
rename a new file over the old one, and network mounts notify nobody. A look is one `stat` per file.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mimic_proxy.settings.fields import SECRETS, Settings

logger = logging.getLogger("mimic.reload")

INTERVAL_SECONDS = 1.0

Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """Files that belong together, and what is called, from the event loop, once when any of them has changed."""

    files: tuple[Path, ...]
    changed: Callable[[], None]
    settle: float = 0.0
    """Seconds without a further change before it is called: who writes in place empties the file first."""


def secret_files(settings: Settings) -> tuple[Path, ...]:
    """The files of all secrets that come from files."""
    secrets = (getattr(settings, name.lower()) for name in SECRETS)
    return tuple(secret.file for secret in secrets if secret is not None and secret.file is not None)


def secret_problems(settings: Settings) -> list[dict[str, str | None]]:
    """The secrets that come from files, each with what is wrong with its file: `missing`, `empty`, `unreadable`, None.

    Their content is not read. The last value of a secret stays in use while its file is away.
    """
    secrets = ((name, getattr(settings, name.lower())) for name in SECRETS)
    return [
        {"name": name, "file": str(secret.file), "problem": _problem(secret.file)}
        for name, secret in secrets
        if secret is not None and secret.file is not None
    ]


def _problem(file: Path) -> str | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
    if not os.access(file, os.R_OK):
        return "unreadable"
    return "empty" if found.st_size == 0 else None


class Watcher:
    """Looks at all files every `interval` seconds.

    Changed is a file that has appeared, or whose time of change, size or identity is another; of a folder also what
    stands in it. A file that has gone is warned of once and changes nothing, since whoever uses it keeps what was read.
    Meant for local file systems: a `stat` that hangs would hold the event loop.
    """

    def __init__(
        self, watches: Iterable[Watch], *, interval: float = INTERVAL_SECONDS, before: "Watcher | None" = None
    ) -> None:
        """before: who looked until now; what has changed since its last look counts at the first look of this one."""
        self._watches = [watch for watch in watches if watch.files]
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None
        known = {} if before is None else before._seen
        self._seen: dict[Path, Signature | None] = {
            file: known[file] if file in known else _signature(file) for watch in self._watches for file in watch.files
        }
        self._gone: set[Path] = set()
        self._settling: dict[Watch, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begins to look; a file that changed since the watcher was made counts at the first look."""
        if self._watches:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._turn)

    def close(self) -> None:
        """Stops looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for settling in self._settling.values():
            settling.cancel()
        self._settling.clear()

    def look(self) -> None:
        """One look. Callbacks run in a later turn of the loop, each by itself: one that raises stops no other."""
        changed = {file for file in self._seen if self._has_changed(file)}
        for watch in self._watches:
            if changed.isdisjoint(watch.files):
                continue
            if watch.settle:
                self._settle(watch)
            else:
                asyncio.get_running_loop().call_soon(watch.changed)

    def _settle(self, watch: Watch) -> None:
        if watch in self._settling:
            self._settling[watch].cancel()
        self._settling[watch] = asyncio.get_running_loop().call_later(watch.settle, self._settled, watch)

    def _settled(self, watch: Watch) -> None:
        del self._settling[watch]
        if any(self._has_changed(file) for file in watch.files):
            self._settle(watch)
        else:
            watch.changed()

    def _turn(self) -> None:
        self.start()
        self.look()

    def _has_changed(self, file: Path) -> bool:
        found = _signature(file)
        if found is None:
            if self._seen[file] is not None and file not in self._gone:
                self._gone.add(file)
                logger.warning("%s is gone; what was read from it is kept", file)
            return False
        self._gone.discard(file)
        if found == self._seen[file]:
            return False
        self._seen[file] = found
        return True


def _signature(file: Path) -> Signature | None:
    try:
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            # A file that is written in place leaves its folder as it was.
            inside = sorted((entry.name, _entry(entry)) for entry in os.scandir(file))
            return *_identity(found), *inside
    except (OSError, ValueError):
        return None
    return _identity(found)


def _entry(entry: "os.DirEntry[str]") -> tuple[int, ...]:
    try:
        return _identity(entry.stat())
    except OSError:
        return ()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    # The mode and the inode's time tell of a file whose permissions were mended.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev, found.st_mode

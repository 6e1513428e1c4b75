"""What outlives an access token: the secrets of the settings, refresh tokens, and the file that keeps the latter.

TOKEN_STORE holds a refresh token and a digest of the secret from which it descends, so that a new secret in the
settings takes precedence over a descendant of the previous one. One process at a time may use the file: a second one
would use up the refresh token of the first.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mimic_proxy.settings.fields import SecretRef

logger = logging.getLogger("mimic.tokens")

MODE = 0o600
SETTLE_SECONDS = 0.5
"""A file that was changed less long ago may be half written: a program that writes in place empties it first."""


class Secret:
    """One secret of the settings with its last good value. Neither `repr` nor a log line shows it."""

    def __init__(self, ref: SecretRef) -> None:
        self._ref = ref
        self._value = ref.value
        self._problem: str | None = None

    @property
    def name(self) -> str:
        """The variable to set, for messages."""
        return self._ref.name if self._ref.file is None else f"{self._ref.name}_FILE"

    @property
    def missing(self) -> str:
        """A sentence that says why `read` returns None."""
        if self._ref.file is None:
            return f"{self.name} is not set."
        return f"{self.name}: {self._ref.file} {self._problem or 'has not been read yet'}."

    @property
    def readable(self) -> bool:
        """Whether the last `read` found a value."""
        return self._problem is None

    def unsettled(self, wall: float) -> float:
        """Returns the seconds after which the file counts as completely written; 0 if it does at Unix time `wall`.

        Times in the future are those of another machine's clock: they count as settled.
        """
        try:
            age = SETTLE_SECONDS if self._ref.file is None else wall - os.stat(self._ref.file).st_mtime
        except (OSError, ValueError):
            return 0.0
        return SETTLE_SECONDS - age if -SETTLE_SECONDS < age < SETTLE_SECONDS else 0.0

    def read(self, wall: float) -> str | None:
        """Returns the value at Unix time `wall` without its final newline; None if there has never been one.

        A file that is empty, unreadable or still being written leaves the last value in use. The file is read in the
        calling thread, which suits calls as rare as a refresh and a local file system.
        """
        if self._ref.file is None:
            return self._value
        try:
            found = self._ref.file.read_bytes().decode("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError) as error:
            self._keep_last(_reason(error))
            return self._value
        if not found:
            self._keep_last("is empty")
            return self._value
        if found != self._value and self.unsettled(wall) > 0:
            if self._value is None:
                self._problem = "is being written"
            return self._value
        if self._problem is not None:
            when = "now" if self._value is None else "again"
            logger.info("%s: %s can be read %s", self.name, self._ref.file, when)
            self._problem = None
        self._value = found
        return found

    def _keep_last(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        consequence = "there is no value yet" if self._value is None else "the last value stays in use"
        logger.warning("%s: %s %s; %s", self.name, self._ref.file, problem, consequence)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return "is not UTF-8 text"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A refresh token and the digest of the secret from which it descends; None: no refresh token yet."""

    token: str | None = field(repr=False)
    ancestor: str


def digest(secret: str) -> str:
    """Identifies a secret without revealing it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class StoreError(Exception):
    """The store cannot be used; the message continues "TOKEN_STORE ..." and holds no secret."""


class RefreshTokens:
    """The refresh token to use next, which the token service replaces again and again. `repr` shows none.

    The next one is stored before the previous one is discarded and before the access token that came with it is used.
    """

    def __init__(self, store: "TokenStore | None") -> None:
        self._store = store
        self._stored: StoredToken | None = None
        self._opened = False
        self._unwritten = False
        self.unknown = 0
        """Consecutive requests with the current refresh token whose outcome is unknown."""
        self.proven = False
        """A refresh token has bought an access token in this process."""

    @property
    def available(self) -> bool:
        """There is a refresh token to use."""
        return self._stored is not None

    async def current(self, secret: str | None) -> str | None:
        """Returns the refresh token that descends from `secret`, or from any secret if that is None; else None.

        Raises StoreError if the store could not keep the next one: then none may be used.
        """
        await self._open()
        if self._stored is None or (secret is not None and self._stored.ancestor != digest(secret)):
            return None
        return self._stored.token

    async def replace(self, secret: str | None, token: str) -> None:
        """Makes `token` the one to use next. It is kept in memory even if StoreError is raised."""
        ancestor = digest(secret) if secret is not None else self._stored.ancestor if self._stored else ""
        self._stored, self.unknown = StoredToken(token, ancestor), 0
        self._unwritten = self._store is not None
        await self._write()

    def succeeded(self) -> None:
        """The current one has bought an access token."""
        self.unknown, self.proven = 0, True

    def drop(self) -> None:
        """The current one has become worthless; the file still holds it until the next one replaces it."""
        self._stored, self.unknown = None, 0

    def move(self, store: "TokenStore | None") -> None:
        """Keeps the refresh token in another store from now on."""
        self.close()
        self._store, self._unwritten = store, store is not None and self._stored is not None

    def close(self) -> None:
        """Releases the store."""
        if self._store is not None:
            self._store.close()
        self._opened = False

    async def _open(self) -> None:
        if self._store is None:
            return
        if not self._opened:
            found = await asyncio.to_thread(self._store.open)
            self._stored, self._opened = self._stored or found, True
        if self._unwritten:
            await self._write()

    async def _write(self) -> None:
        if self._store is not None and self._stored is not None:
            await asyncio.to_thread(self._store.write, self._stored)
            self._unwritten = False


class TokenStore:
    """The file of TOKEN_STORE, locked from `open` until `close`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock: IO[bytes] | None = None

    def open(self) -> StoredToken | None:
        """Locks the file, reads it, and writes it again to check that it is writable. Raises StoreError."""
        try:
            return self._opened()
        except StoreError:
            self.close()
            raise

    def _opened(self) -> StoredToken | None:
        try:
            if self._lock is None:
                self._lock = _locked(self._file.with_name(f"{self._file.name}.lock"))
            found = self._read()
            _replace(self._file, _document(found or StoredToken(None, "")))
            return found
        except FileNotFoundError as missing:
            raise StoreError(f"cannot be written: {self._file.parent} is no folder") from missing
        except BlockingIOError as taken:
            raise StoreError("is used by another Mimic: each needs a refresh token of its own") from taken
        except OSError as error:
            raise StoreError(f"cannot be used ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError("does not hold a refresh token of Mimic's: remove it, or name another file") from error

    def write(self, stored: StoredToken) -> None:
        """Replaces the content; after a crash the file holds either the old or the new one. Raises StoreError."""
        try:
            _replace(self._file, _document(stored))
        except OSError as error:
            raise StoreError(f"cannot be written ({error.strerror})") from error

    def _read(self) -> StoredToken | None:
        try:
            document = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        token, ancestor = document["refresh_token"], document["ancestor"]
        return None if token is None else StoredToken(str(token), str(ancestor))

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _locked(file: Path) -> IO[bytes]:
    handle = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, MODE), "r+b")
    try:
        import fcntl
    except ImportError:
        # Windows has no such lock; two processes on one store are not expected there.
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise
    return handle


def _document(stored: StoredToken) -> bytes:
    return json.dumps({"refresh_token": stored.token, "ancestor": stored.ancestor}).encode("ascii")


def _replace(file: Path, content: bytes) -> None:
    # mkstemp creates files that only their owner may read.
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(descriptor)
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

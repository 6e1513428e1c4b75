"""TOKEN_STORE: the file that keeps a refresh token over a restart.

It holds the refresh token and a digest of the secret that it descends from, so that a secret which somebody sets anew
counts more than what descends from the old one. One process at a time may use it: a second one would use up the other's
refresh token.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

MODE = 0o600


class StoreError(Exception):
    """The store cannot be used; the message goes on from "TOKEN_STORE ..." and holds no secret."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A refresh token and the digest of its ancestor; no token yet where that is None."""

    token: str | None = field(repr=False)
    ancestor: str


def digest(secret: str) -> str:
    """What tells one secret from another and does not give it away."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class TokenStore:
    """One file, locked from the first use until `close`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock: IO[bytes] | None = None

    @property
    def file(self) -> Path:
        """Where it is, for messages."""
        return self._file

    def open(self) -> Kept | None:
        """Takes the lock, reads what was kept, and writes it again to see whether it can. Raises StoreError."""
        try:
            return self._opened()
        except StoreError:
            self.close()
            raise

    def _opened(self) -> Kept | None:
        try:
            if self._lock is None:
                self._lock = _locked(self._file.with_name(f"{self._file.name}.lock"))
            found = self._read()
            _replace(self._file, _document(found or Kept(None, "")))
            return found
        except FileNotFoundError as missing:
            raise StoreError(f"cannot be written: {self._file.parent} is no folder") from missing
        except BlockingIOError as taken:
            raise StoreError("is used by another Mimic: each needs a refresh token of its own") from taken
        except OSError as error:
            raise StoreError(f"cannot be used ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(
                "holds something else than a refresh token of Mimic's: remove it, or name another"
            ) from error

    def write(self, kept: Kept) -> None:
        """Puts `kept` in the place of what was there; after a crash either is there, whole. Raises StoreError."""
        try:
            _replace(self._file, _document(kept))
        except OSError as error:
            raise StoreError(f"cannot be written ({error.strerror})") from error

    def _read(self) -> Kept | None:
        try:
            document = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        token, ancestor = document["refresh_token"], document["ancestor"]
        return None if token is None else Kept(str(token), str(ancestor))

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _locked(file: Path) -> IO[bytes]:
    handle = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, MODE), "r+b")
    try:
        import fcntl
    except ImportError:
        # Windows: nobody runs two of them there on purpose.
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise
    return handle


def _document(kept: Kept) -> bytes:
    return json.dumps({"refresh_token": kept.token, "ancestor": kept.ancestor}).encode("ascii")


def _replace(file: Path, content: bytes) -> None:
    # Only its owner may read a file that mkstemp makes.
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

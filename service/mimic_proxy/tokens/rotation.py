"""The present refresh token, while the token service replaces it again and again.

The next one is kept, in the store if there is one, before the last one is dropped and before the access token that came
with it is used.
"""

import asyncio
import logging

from mimic_proxy.tokens.store import Kept, TokenStore, digest

logger = logging.getLogger("mimic.tokens")


class Rotation:
    """Refresh tokens that descend from one secret at a time. `repr` shows none."""

    def __init__(self, store: TokenStore | None) -> None:
        self._store = store
        self._kept: Kept | None = None
        self._opened = False
        self._unwritten = False
        self.unknown = 0
        """Calls in a row with the present refresh token whose outcome is not known."""
        self.proven = False
        """A refresh token has bought an access token in this process."""

    @property
    def holds(self) -> bool:
        """There is a refresh token to turn in."""
        return self._kept is not None

    async def current(self, secret: str | None) -> str | None:
        """The refresh token that descends from `secret`, or from whichever if it is None; None where none does.

        Raises StoreError if the store could not keep the next one: then nothing must be turned in.
        """
        await self._open()
        if self._kept is None or (secret is not None and self._kept.ancestor != digest(secret)):
            return None
        return self._kept.token

    async def keep(self, secret: str | None, token: str) -> None:
        """From now on `token` is the one to turn in. In memory it is kept even if StoreError is raised."""
        ancestor = digest(secret) if secret is not None else self._kept.ancestor if self._kept else ""
        self._kept, self.unknown = Kept(token, ancestor), 0
        self._unwritten = self._store is not None
        await self._write()

    def settle(self) -> None:
        """The present one has bought an access token."""
        self.unknown, self.proven = 0, True

    def drop(self) -> None:
        """The present one is worth nothing any more; the file still has it, and is overwritten by the next."""
        self._kept, self.unknown = None, 0

    def close(self) -> None:
        """Gives the store back."""
        if self._store is not None:
            self._store.close()
        self._opened = False

    async def _open(self) -> None:
        if self._store is None:
            return
        if not self._opened:
            found = await asyncio.to_thread(self._store.open)
            self._kept, self._opened = self._kept or found, True
        if self._unwritten:
            await self._write()

    async def _write(self) -> None:
        if self._store is not None and self._kept is not None:
            await asyncio.to_thread(self._store.write, self._kept)
            self._unwritten = False

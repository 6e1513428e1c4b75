"""Which callers are let in: those whose key is listed, each by the name of its entry. Pure.

Keys are compared by their digests and in constant time, each of them whatever the others said: how long it takes tells
nothing of how much of a key was right, nor which entry it was.
"""

import hashlib
import hmac
from collections.abc import Iterable

from mimic_proxy.errors import ClientKeyRefused, ClientKeysMissing, MimicError

MOST_NAMES = 256
"""Entries of more names are accepted, but told apart no further: each name is a series of the metrics."""
OTHERS = "other"


class Callers:
    """The keys of one moment. entries: name and key; a name may have several keys, so that one can be replaced."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._known: list[tuple[bytes, str]] = []
        names: dict[str, None] = {}
        for name, key in entries:
            apart = name in names or len(names) < MOST_NAMES
            if apart:
                names[name] = None
            self._known.append((hashlib.sha256(key.encode()).digest(), name if apart else OTHERS))

    def __len__(self) -> int:
        return len(self._known)

    def name_of(self, credential: bytes | None) -> str | MimicError:
        """The name of the entry whose key this is, or why the caller is not let in.

        credential: what stands in Authorization (with or without `Bearer`), api-key or x-api-key.
        """
        if not self._known:
            return ClientKeysMissing("No client key is accepted yet: CLIENT_KEYS lists none.", retry_after=5)
        if credential is None:
            return ClientKeyRefused("This Mimic wants a client key. Set the SDK's API key to the one you were given.")
        digest = hashlib.sha256(bare(credential)).digest()
        found: str | None = None
        for known, name in self._known:
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            return ClientKeyRefused("This client key is not accepted. Set the SDK's API key to the one you were given.")
        return found


def bare(credential: bytes) -> bytes:
    """The key without the word before it (RFC 6750, 2.1)."""
    scheme, _, rest = credential.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else credential.strip()

"""The list of client keys, read again when it changes: a value, a file, or a folder as Kubernetes mounts a Secret.

1. In a file each line is one entry, `name: key`, or a key alone, which is called by the number of its line. Blank lines
   and lines that begin with # do not count.
2. In a folder each file is one entry by its name; each of its lines is one of its keys. Names that begin with a dot are
   the mount's own.
3. What cannot be read keeps the last list. A list that has become empty lets nobody in.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from mimic_proxy.relay.access import AcceptedKeys
from mimic_proxy.settings.fields import SecretRef

logger = logging.getLogger("mimic.client_keys")


class ClientKeys:
    """The present list. Neither `repr` nor a log line shows a key."""

    def __init__(self, ref: SecretRef) -> None:
        self._ref = ref
        self.callers = AcceptedKeys(())
        self.reload()

    def reload(self) -> bool:
        """Read the list again; False if it cannot be read and the last one stays."""
        ref = self._ref
        try:
            found = list(_entries(ref))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            stays = "the last list stays" if len(self.callers) else "nobody is let in"
            logger.warning("CLIENT_KEYS_FILE: %s cannot be read (%s); %s", ref.file, reason, stays)
            return False
        self.callers = AcceptedKeys(found)
        if found:
            logger.info("client keys: %d of %d callers are accepted", len(found), len({name for name, _ in found}))
        else:
            logger.warning("client keys: the list is empty, nobody is let in")
        return True


def _entries(ref: SecretRef) -> Iterator[tuple[str, str]]:
    if ref.file is None:
        yield from _listed(ref.value or "")
    elif ref.file.is_dir():
        for file in sorted(ref.file.iterdir()):
            if not file.name.startswith(".") and file.is_file():
                yield from ((file.name, key) for key in _lines(_text(file)))
    else:
        yield from _listed(_text(ref.file))


def _listed(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_lines(text), start=1):
        name, separator, key = line.partition(": ")
        yield (name.strip(), key.strip()) if separator and key.strip() else (f"key-{number}", line)


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8")

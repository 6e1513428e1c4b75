"""A secret of the settings, read again from its file whenever somebody asks."""

import logging
from pathlib import Path

from mimic_proxy.settings.fields import SecretRef

logger = logging.getLogger("mimic.tokens")


class Secret:
    """The last good value of one secret. Neither `repr` nor a log line shows it."""

    def __init__(self, ref: SecretRef) -> None:
        self._ref = ref
        self._value = ref.value
        self._trouble: str | None = None

    @property
    def name(self) -> str:
        """The variable to set, for messages."""
        return self._ref.name if self._ref.file is None else f"{self._ref.name}_FILE"

    @property
    def missing(self) -> str:
        """A sentence on why `read` gives nothing."""
        if self._ref.file is None:
            return f"{self.name} is not set."
        return f"{self.name}: {self._ref.file} {self._trouble or 'was not read yet'}."

    @property
    def readable(self) -> bool:
        """The last `read` found a value."""
        return self._trouble is None

    def read(self) -> str | None:
        """The present value without the newline at its end; None if there was never one.

        A file that has become empty or unreadable keeps the last value, with one warning. The file is opened in the
        calling thread: it is meant for calls as rare as a refresh, and for a local file system.
        """
        if self._ref.file is None:
            return self._value
        try:
            found = _content(self._ref.file)
        except (OSError, ValueError) as error:
            self._keep(_reason(error))
            return self._value
        if not found:
            self._keep("is empty")
            return self._value
        if self._trouble is not None:
            when = "now" if self._value is None else "again"
            logger.info("%s: %s can be read %s", self.name, self._ref.file, when)
            self._trouble = None
        self._value = found
        return found

    def _keep(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        kept = "there is no value yet" if self._value is None else "the last value is kept"
        logger.warning("%s: %s %s; %s", self.name, self._ref.file, trouble, kept)


def _content(file: Path) -> str:
    return file.read_bytes().decode("utf-8").removesuffix("\n").removesuffix("\r")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return "is not UTF-8 text"

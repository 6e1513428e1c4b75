"""A text that comes piece by piece, or again and again as a whole that grows."""

from mimic_proxy.dialects.envelope.text import ends_in_half, joined, settled


class Diverged(Exception):
    """What came does not continue what has been given out."""


class Growing:
    """cumulative: each text is the whole so far, else what is new of it.

    What is given out never ends within a character, so that it can stand in an event of its own.
    """

    __slots__ = ("_cumulative", "_kept", "given")

    def __init__(self, cumulative: bool) -> None:
        self._cumulative = cumulative
        self._kept = ""
        self.given = ""
        """All that has been given out; of a text in pieces only whether there was any."""

    def take(self, text: str) -> str:
        """What can be given out now. Raises Diverged."""
        if self._cumulative:
            return self._take_whole(text)
        if self._kept:
            text, self._kept = joined(self._kept, text), ""
        if ends_in_half(text):
            text, self._kept = text[:-1], text[-1]
        if text:
            self.given = text
        return text

    def rest(self) -> str:
        """No more comes: what was kept back."""
        kept, self._kept = self._kept, ""
        self.given += kept
        return kept

    def _take_whole(self, text: str) -> str:
        given = self.given
        if not text.startswith(given):
            raise Diverged("became shorter" if given.startswith(text) else "changed what it had said before")
        end = max(settled(text), len(given))
        self._kept = text[end:]
        self.given = text[:end]
        return text[len(given) : end]

"""Bytes that are collected until they are needed whole. Pure.

A body may come in pieces of any size, and a piece of two bytes is an object of 35 and an entry of a list: a body in
chunks of two bytes would take 28 times its length. Pieces are therefore joined as they come.
"""

from io import BytesIO


class Buffer:
    """Collects pieces of bytes in their order. A piece that stays alone, as most bodies are, is not copied."""

    __slots__ = ("_first", "_joined", "size")

    def __init__(self) -> None:
        self._first = b""
        self._joined: BytesIO | None = None
        self.size = 0

    def append(self, piece: bytes) -> None:
        """Add a piece."""
        if self._joined is not None:
            self._joined.write(piece)
        elif self.size:
            self._joined = BytesIO()
            self._joined.write(self._first)
            self._joined.write(piece)
            self._first = b""
        else:
            self._first = piece
        self.size += len(piece)

    def take(self) -> bytes:
        """Everything in one piece, which stays here as well. `BytesIO` gives out its buffer without a copy."""
        return self._first if self._joined is None else self._joined.getvalue()

    def clear(self) -> None:
        """Forget everything."""
        self._first = b""
        self._joined = None
        self.size = 0

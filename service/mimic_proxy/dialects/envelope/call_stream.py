"""The tool calls of a stream: new ones event by event, or a list that grows."""

from mimic_proxy.dialects.envelope.chunks import Chunks
from mimic_proxy.dialects.envelope.growth import Diverged, Growing
from mimic_proxy.dialects.envelope.tools import MOST_CALLS, NO_ARGUMENTS, Call, call_id


class _Open:
    """A call that may still grow. whole: arguments that are no text are given out when they will not change again.

    complete: its arguments came as a JSON value, which no piece of text goes on with.
    """

    __slots__ = ("arguments", "complete", "id", "name", "started", "whole")

    def __init__(self, call: Call, cumulative: bool) -> None:
        self.id = call.id
        self.name = call.name
        self.arguments = Growing(cumulative)
        self.whole: str | None = None
        self.complete = False
        self.started = False


class CallStream:
    """legacy: the caller knows one `function_call`, not `tool_calls`."""

    __slots__ = ("_by_index", "_cumulative", "_legacy", "_open", "_stamp")

    def __init__(self, stamp: str, cumulative: bool, legacy: bool) -> None:
        self._stamp = stamp
        self._cumulative = cumulative
        self._legacy = legacy
        self._open: list[_Open] = []
        self._by_index: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def take(self, calls: list[Call], chunks: Chunks) -> bytes:
        """The events for the calls of one event. Raises Diverged."""
        if self._cumulative:
            return self._take_list(calls, chunks)
        return b"".join(self._take_new(call, chunks) for call in calls)

    def rest(self, chunks: Chunks) -> bytes:
        """No more comes: what was kept back. Raises Diverged for a call without a name."""
        return b"".join(self._close(place, chunks) for place in range(len(self._open)))

    def _take_list(self, calls: list[Call], chunks: Chunks) -> bytes:
        if calls and len(calls) < len(self._open):
            raise Diverged("took back a tool call")
        out = b""
        for place, call in enumerate(calls):
            if place == len(self._open):
                # The order in which calls begin is that of their indexes.
                out += b"".join(self._begin(before, chunks) for before in range(place))
                self._add(call)
            call_open = self._open[place]
            if call_open.started and call.name != call_open.name:
                raise Diverged("changed the name of a tool call")
            call_open.name, call_open.id = call.name, call_open.id or call.id
            if not call.name:
                continue
            if isinstance(call.arguments, str):
                out += self._grow(place, call.arguments, chunks)
            elif call.arguments is not None:
                if call_open.started and call.text != call_open.whole:
                    raise Diverged("changed the arguments of a tool call")
                call_open.whole = call.text
        return out

    def _take_new(self, call: Call, chunks: Chunks) -> bytes:
        place = self._known(call)
        if place is None:
            place = self._add(call)
        call_open = self._open[place]
        if call.name not in ("", call_open.name):
            raise Diverged("changed the name of a tool call")
        if call.id and call.id == call_open.id and call.text == call_open.whole:
            return b""
        # An empty object stands for arguments that are still to come.
        text = call.text if call.arguments not in (None, {}) else ""
        is_value = not isinstance(call.arguments, str)
        if text and call_open.whole and (is_value or call_open.complete):
            raise Diverged("changed the arguments of a tool call")
        call_open.complete = call_open.complete or (is_value and text != "")
        call_open.whole = (call_open.whole or "") + text
        return self._grow(place, text, chunks)

    def _known(self, call: Call) -> int | None:
        """Which of the calls goes on with this item, None for a new one."""
        place = None if call.index is None else self._by_index.get(call.index)
        # Some gateways give every call the index 0, and an id of its own.
        if place is not None and not (call.id and self._open[place].id not in ("", call.id)):
            return place
        if call.id:
            same = [known for known, other in enumerate(self._open) if other.id == call.id]
            if same:
                return same[0]
        return len(self._open) - 1 if self._open and not call.name and call.index is None else None

    def _add(self, call: Call) -> int:
        if len(self._open) == MOST_CALLS:
            raise Diverged(f"made more than {MOST_CALLS} tool calls")
        if call.index is not None:
            self._by_index[call.index] = len(self._open)
        self._open.append(_Open(call, self._cumulative))
        return len(self._open) - 1

    def _grow(self, place: int, arguments: str, chunks: Chunks) -> bytes:
        call = self._open[place]
        return self._give(place, call.arguments.take(arguments), chunks)

    def _give(self, place: int, more: str, chunks: Chunks) -> bytes:
        call = self._open[place]
        if call.started and not more:
            return b""
        if not call.name:
            raise Diverged("made a tool call without a name")
        begins, call.started = not call.started, True
        if self._legacy:
            if place:
                return b""
            return chunks.function_call(call.name if begins else None, more)
        if not begins:
            return chunks.arguments(place, more)
        return chunks.call(place, call.id or call_id(self._stamp, place), call.name, more)

    def _begin(self, place: int, chunks: Chunks) -> bytes:
        """Give out a call that was kept back, for now or for good."""
        call = self._open[place]
        if call.started:
            return b""
        if call.whole is None:
            return self._give(place, "", chunks)
        call.arguments.given = call.whole
        return self._give(place, call.whole, chunks)

    def _close(self, place: int, chunks: Chunks) -> bytes:
        out = self._begin(place, chunks)
        arguments = self._open[place].arguments
        rest = arguments.rest()
        return out + self._give(place, rest if arguments.given else NO_ARGUMENTS, chunks)

"""A whole answer of a gateway, made into OpenAI's object; and such an object, made into events."""

from typing import Any

from mimic_proxy.dialects.base import Stamp, Translated
from mimic_proxy.dialects.base import text as name_of
from mimic_proxy.dialects.envelope.accounts import finish_reason, usage_object, usage_shown
from mimic_proxy.dialects.envelope.chunks import Chunks, completion
from mimic_proxy.dialects.envelope.errors import Trouble, bad_response, reported
from mimic_proxy.dialects.envelope.paths import CALLS, FINISH, MODEL, TEXT, USAGE, Shape, kind_of
from mimic_proxy.dialects.envelope.stream import missing_text
from mimic_proxy.dialects.envelope.text import plain_text, read_json
from mimic_proxy.dialects.envelope.tools import Call, call_objects, calls_of
from mimic_proxy.pointer import MISSING
from mimic_proxy.telemetry.observation import NO_USAGE, Shown


def chat_answer(shape: Shape, document: Any, status: int, stamp: Stamp, model: str, *, legacy: bool) -> Translated:
    """model: the caller's. legacy: the caller knows `function_call` alone."""
    found = shape.plan.walk(document)
    trouble = reported(shape, found, status)
    if trouble is not None:
        return trouble.translated()
    pick = shape.plan.pick
    text, calls = pick(found, TEXT), calls_of(pick(found, CALLS))
    said = "" if text is MISSING else plain_text(text)
    if calls is None or said is None or not all(call.name for call in calls):
        return _wrong_kind(shape, text, said).translated()
    if text is MISSING and not calls:
        return missing_text(shape, document).translated()
    own, usage = pick(found, MODEL), pick(found, USAGE)
    model = own if isinstance(own, str) and own else model
    reason = finish_reason(pick(found, FINISH), calls=bool(calls), legacy=legacy)
    body = completion(stamp, model, _message(said, calls, stamp, legacy), reason, usage_object(usage))
    shown = Shown(usage_shown(usage) or NO_USAGE, f"chatcmpl-{stamp.id}", name_of(model), (reason,))
    return Translated(200, body, shown)


def as_events(body: bytes, stamp: Stamp, include_usage: bool) -> bytes:
    """The stream of a whole `chat.completion` object."""
    whole = read_json(body)
    choice = whole["choices"][0]
    message = choice["message"]
    chunks = Chunks(stamp, whole["model"], include_usage)
    content, calls, function = message["content"], message.get("tool_calls", ()), message.get("function_call")
    parts = [chunks.role(None if content is None else "")]
    if content is not None:
        parts.append(chunks.text(content))
    for index, call in enumerate(calls):
        parts.append(chunks.call(index, call["id"], call["function"]["name"], call["function"]["arguments"]))
    if function is not None:
        parts.append(chunks.function_call(function["name"], function["arguments"]))
    parts.append(chunks.finish(choice["finish_reason"], whole.get("usage")))
    return b"".join(parts)


def _message(said: str, calls: list[Call], stamp: Stamp, legacy: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said or (None if calls else ""), "refusal": None}
    objects = call_objects(calls, stamp.id)
    if objects and legacy:
        message["function_call"] = objects[0]["function"]
    elif objects:
        message["tool_calls"] = objects
    return message


def _wrong_kind(shape: Shape, text: Any, said: str | None) -> Trouble:
    place = "in the backend's answer is"
    if said is None:
        return bad_response(
            f"What stands at {shape.text_names} (ENVELOPE_TEXT_PATH) {place} {kind_of(text)}, not text."
        )
    return bad_response(
        f"What stands at ENVELOPE_TOOL_CALLS_PATH {place} not an array of objects like {{name, arguments}}."
    )

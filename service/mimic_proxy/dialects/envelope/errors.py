"""Errors of a gateway: how they are told from answers, and what OpenAI would say instead."""

from dataclasses import dataclass
from typing import Any

from mimic_proxy.dialects.base import Translated
from mimic_proxy.dialects.envelope.paths import CODE, MESSAGE, Found, Shape
from mimic_proxy.dialects.envelope.text import write_json
from mimic_proxy.errors import UpstreamAuthFailed, UpstreamBadResponse
from mimic_proxy.pointer import MISSING

LONGEST_MESSAGE = 4096
LONGEST_CODE = 128
_UNNAMED = "error"

_BY_WORD = (
    (("context_length", "contextlength", "context length", "too many tokens"), 400, "context_length_exceeded"),
    (("rate_limit", "ratelimit", "rate limit", "throttl", "too_many_requests", "quota"), 429, "rate_limit_exceeded"),
    (("model_not_found", "modelnotfound", "unknown_model"), 404, "model_not_found"),
)
"""Words in a code that is no number: status and OpenAI's code."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error, in OpenAI's shape. status 401: the access token was refused."""

    status: int
    body: bytes

    def translated(self) -> Translated:
        return Translated(self.status, self.body)


def reported(shape: Shape, found: Found, status: int = 200) -> Trouble | None:
    """The error that an answer reports by its code or by its HTTP status, None if it reports none."""
    code = _code(shape.plan.pick(found, CODE))
    if code.lower() in shape.success:
        code = ""
    if not code and status < 400:
        return None
    if status == 401 or code.lower() in shape.refused:
        status = 401
    return _trouble(status, code, _said(shape, found))


def bad_response(message: str) -> Trouble:
    """What the backend sent cannot be used."""
    return Trouble(UpstreamBadResponse.status, UpstreamBadResponse(message).body())


def not_json(status: int, body: bytes) -> Trouble:
    """An answer that is no JSON: a page of some proxy between, or nothing at all."""
    start = body[:1024].lstrip().lower()
    what = "an empty body" if not start else "an HTML page" if start.startswith(b"<") else "a body that is not JSON"
    message = f"The backend answered with status {status} and {what}."
    if status < 400:
        return bad_response(f"{message} Check its URL, and what stands between Mimic and it.")
    return _trouble(status, "", message)


def _trouble(status: int, code: str, said: str) -> Trouble:
    own = code
    if status != 401:
        number = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else 0
        if 400 <= number <= 599:
            status, own = number, ""
        elif code and not code.isdigit():
            for words, meant, name in _BY_WORD:
                if any(word in code.lower() for word in words):
                    status, own = meant, name
                    break
        if status < 400:
            status = 502
    named = f" with the error code {code}" if code else f" with status {status}"
    message = said or f"The backend answered{named} and no message."
    if status == 401:
        kind, name = UpstreamAuthFailed.type, UpstreamAuthFailed.code
    elif status == 502:
        kind, name = UpstreamBadResponse.type, UpstreamBadResponse.code
        message = message if not said or own in ("", _UNNAMED) else f"{said} (error code {own})"
    elif status == 429:
        kind, name = "rate_limit_error", own or "rate_limit_exceeded"
    else:
        kind, name = ("invalid_request_error" if status < 500 else "server_error"), own
    error = {"message": message, "type": kind, "param": None, "code": name or None}
    return Trouble(status, write_json({"error": error}))


def _said(shape: Shape, found: Found) -> str:
    """The gateway's message, from an object with one too; empty where there is none."""
    message = shape.plan.pick(found, MESSAGE)
    if isinstance(message, dict):
        message = message.get("message")
    return message.strip()[:LONGEST_MESSAGE] if isinstance(message, str) else ""


def _code(value: Any) -> str:
    """The code as text; empty where there is none. What is no code (an object, a sentence) still reports an error."""
    if value is MISSING or not (value or value == 0) or value is False:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is True or not isinstance(value, (str, int, float)):
        return _UNNAMED
    code = str(value).strip()
    return code if len(code) <= LONGEST_CODE and " " not in code else _UNNAMED

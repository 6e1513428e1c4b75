"""Usage and finish reasons of a gateway in OpenAI's words."""

import re
from typing import Any

from mimic_proxy.telemetry.observation import Usage

_PROMPT = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "prompt_token_count", "promptTokenCount")
_COMPLETION = (
    "completion_tokens",
    "output_tokens",
    "completionTokens",
    "outputTokens",
    "candidates_token_count",
    "candidatesTokenCount",
)
_TOTAL = ("total_tokens", "totalTokens", "total_token_count", "totalTokenCount")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")

_OWN_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_REASONS = {
    "length": ("maxtokens", "maxlength", "modellength", "truncated", "maxoutputtokens"),
    "tool_calls": ("tooluse", "toolcall", "toolcalls", "functioncall"),
    "content_filter": ("contentfiltered", "contentfilter", "safety", "blocked", "guardrailintervened", "sensitive"),
}
_BY_WORD = {word: reason for reason, words in _REASONS.items() for word in words}
_NO_LETTER = re.compile(r"[^a-z]")


def usage_object(found: Any) -> dict[str, Any] | None:
    """OpenAI's `usage`; None where the gateway's holds no count."""
    if not isinstance(found, dict):
        return None
    prompt, completion, total = _count(found, _PROMPT), _count(found, _COMPLETION), _count(found, _TOTAL)
    if prompt is None and completion is None and total is None:
        return None
    if prompt is None:
        prompt = max((total or 0) - (completion or 0), 0)
    if completion is None:
        completion = max((total or 0) - prompt, 0)
    whole = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion if total is None else total,
    }
    return whole | {name: found[name] for name in _DETAILS if isinstance(found.get(name), dict)}


def usage_shown(found: Any) -> Usage | None:
    """The counts for telemetry: nothing is made up for what was not told."""
    if not isinstance(found, dict):
        return None
    into, out = _count(found, _PROMPT), _count(found, _COMPLETION)
    if into is None and out is None:
        return None
    cached, reasoning = _detail(found, _DETAILS[0], "cached_tokens"), _detail(found, _DETAILS[1], "reasoning_tokens")
    return Usage(into, out, cached, reasoning)


def finish_reason(found: Any, *, calls: bool, legacy: bool = False) -> str:
    """OpenAI's word for why an answer ended; what is not known is `stop`. An answer that calls says so."""
    reason = "stop"
    if isinstance(found, str):
        word = found.lower()
        reason = word if word in _OWN_REASONS else _BY_WORD.get(_NO_LETTER.sub("", word), "stop")
    if calls and reason not in ("length", "content_filter"):
        return "function_call" if legacy else "tool_calls"
    return "stop" if not calls and reason in ("tool_calls", "function_call") else reason


def _count(found: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = found.get(name)
        if type(value) is int and value >= 0:
            return value
    return None


def _detail(found: dict[str, Any], group: str, name: str) -> int | None:
    details = found.get(group)
    return _count(details, (name,)) if isinstance(details, dict) else None

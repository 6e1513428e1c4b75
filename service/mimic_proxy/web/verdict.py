"""Is it us, the token service or the backend? The decision in words, from what was seen last. Pure.

A finding tells what is wrong, whose matter it is and what to do; the first of them is the verdict. What the state of
the process says (no token, stopping) counts from the moment it holds. What calls have shown counts for WINDOW_SECONDS,
and is told as past once calls succeed again for QUIET_SECONDS. Where none has succeeded for as long, those of that time
count alone: what went well before makes a fault that hits every call no smaller.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from mimic_proxy.telemetry.history import NEVER_ASKED, Cause
from mimic_proxy.telemetry.observation import RefreshResult
from mimic_proxy.telemetry.port import TokenState

WINDOW_SECONDS = 300
QUIET_SECONDS = 30
SILENT_SECONDS = 10.0
BAD_SHARE = 0.05
"""Of the calls, from which on a fault of the backend or of ours is more than a warning."""
MANY = 20
"""From so many calls on a share is told in percent."""
CALLERS_SHARE = 0.5
"""From which on it is a warning that calls fail by their callers' own doing."""
FEW = 3
"""So many calls that all fail are no accident."""

Level = Literal["good", "warning", "bad"]
Party = Literal["mimic", "token_service", "backend", "callers"]
Standing = Literal["good", "warning", "bad", "unknown", "unused"]
WELL: tuple[Cause, ...] = ("completed", "client_disconnect")
SEVERITY: dict[Level, int] = {"bad": 0, "warning": 1, "good": 2}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is to be told. Moments are Unix times."""

    level: Level
    party: Party
    """Whose matter it is."""
    sentence: str
    """Without its full stop: the page says since when, in its reader's own time."""
    advice: str = ""
    since: float | None = None
    until: float | None = None
    """When it was seen last, if it seems to be over."""


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """All that the decision rests on. Moments are Unix times, durations seconds."""

    now: float
    conditions: Sequence[tuple[str, bool, str]]
    """Of readiness: name, whether it holds, why not."""
    token: TokenState
    token_failing_since: float | None = None
    breaker_open: bool = False
    slots_in_use: int = 0
    slots_limit: int = 0
    """0 is no limit."""
    queue: int = 0
    causes: Mapping[Cause, int]
    """How the calls of the last WINDOW_SECONDS ended."""
    last: Mapping[Cause, float]
    """When a call ended so last."""
    running: int = 0
    """Calls that are being served now."""
    silent: int = 0
    """Those of them that have waited for a first byte of the backend for SILENT_SECONDS or longer."""
    silent_seconds: float = 0.0
    """The longest of these waits."""
    lately: Mapping[Cause, int]
    """How the calls of the last QUIET_SECONDS ended."""

    @property
    def completed_lately(self) -> int:
        """Calls that succeeded within the last QUIET_SECONDS."""
        return self.lately["completed"]

    @property
    def nothing_works(self) -> bool:
        """Every call of the last QUIET_SECONDS has failed, and there were some."""
        return not self.completed_lately and _counted(self.lately) >= FEW


class Told(msgspec.Struct, frozen=True):
    """How a cause is put into words; {share} stands for `31 % of calls` or `3 of 7 calls`."""

    party: Party
    sentence: str
    advice: str


REFUSED: dict[RefreshResult, str] = {
    "rejected": "The token service refuses the secret",
    "throttled": "The token service turns Mimic away: too many requests",
    "http_error": "The token service answers with errors",
    "redirected": "The token service redirects elsewhere, where the secret does not go",
    "empty": "The token service gives empty answers",
    "not_json": "The token service answers with something else than JSON",
    "no_token": "The token service gives answers without an access token",
    "error_answer": "The token service answers 200 with an error in it",
    "bad_response": "The token service gives answers that cannot be used",
    "timeout": "The token service is too slow to answer",
    "unreachable": "The token service cannot be reached",
    "tls": "The token service cannot be reached over TLS",
    "lost": "The refresh token is lost",
}
FAULTS: dict[Cause, Told] = {
    "upstream_5xx": Told(
        "backend",
        "The backend answered 5xx to {share}",
        "Mimic passes such answers on as they are. Ask the backend's owners, and give them a request id from below.",
    ),
    "unreachable": Told(
        "backend",
        "The backend could not be reached for {share}",
        "Check its URL, its name in DNS, the network between and its certificate; `mimic-proxy check` tries them all.",
    ),
    "bad_response": Told(
        "backend",
        "The backend broke off or garbled its answer to {share}",
        "Something between Mimic and the model may close connections too early. The error codes below tell more.",
    ),
    "error_event": Told(
        "backend",
        "The backend reported an error inside the stream of {share}",
        "The caller got that event as it came. Ask the backend's owners.",
    ),
    "timeout": Told(
        "backend",
        "The backend was too slow for {share}",
        "Either it is overloaded or the limit is too short: CONNECT_TIMEOUT, FIRST_BYTE_TIMEOUT, TOTAL_TIMEOUT.",
    ),
    "gave_up": Told(
        "backend",
        "Callers gave up waiting for the backend's first byte in {share}",
        "It had not answered at all. Either it hangs, or its callers' own timeouts are too short for it; a shorter "
        "FIRST_BYTE_TIMEOUT makes Mimic tell them so.",
    ),
    "idle_timeout": Told(
        "backend",
        "The backend fell silent in the middle of {share}",
        "It sent nothing for IDLE_TIMEOUT. If such pauses are normal for this model, set a longer one.",
    ),
    "token_refused": Told(
        "backend",
        "The backend refused the access token of {share}",
        "Ask its owners what this account may use. A token that was refused with 401 had been replaced once already.",
    ),
    "throttled": Told(
        "backend",
        "The backend turned away {share} with 429, too many requests",
        "Callers send more than its quota allows: slow them down, or ask its owners for more.",
    ),
    "circuit_open": Told(
        "backend",
        "The backend had failed repeatedly: Mimic held back {share}",
        "Mimic tries it again by itself after BREAKER_COOLDOWN.",
    ),
    "no_token": Told(
        "token_service",
        "There was no access token for {share}",
        "The last results of the token service, below, tell why.",
    ),
    "overloaded": Told(
        "mimic",
        "Mimic turned away {share}, being at its limits",
        "Slots, queue or memory for bodies were full: raise MAX_CONCURRENCY, MAX_QUEUE or MAX_BUFFERED_BYTES, or add "
        "replicas.",
    ),
    "internal_error": Told(
        "mimic",
        "Mimic itself failed {share}",
        "That is a fault of Mimic's: its log says why. Please report it.",
    ),
}
CALLERS: dict[Cause, Told] = {
    "client_error": Told(
        "callers",
        "The backend refused {share} as wrong (4xx)",
        "The requests are at fault: the model's name, or the body. The statuses below tell more, the answers most.",
    ),
    "refused_here": Told(
        "callers",
        "Mimic refused {share} as wrong",
        "The requests are at fault: the path, the size, a web page that may not call. The codes below tell which.",
    ),
    "client_disconnect": Told(
        "callers",
        "Callers gave up {share} before the answer was complete",
        "If that is not meant so, look at the callers' own timeouts.",
    ),
}


def judge(seen: Circumstances) -> list[Finding]:
    """What there is to tell, the worst first; never empty, and the first is the verdict."""
    parts = (_of_readiness, _of_the_token, _of_the_breaker, _of_silence, _of_calls, _of_slots)
    findings = [finding for part in parts for finding in part(seen)]
    if not any(finding.level != "good" for finding in findings):
        findings.insert(0, _all_is_well(seen))
    return sorted(findings, key=lambda finding: SEVERITY[finding.level])


def standings(seen: Circumstances, findings: Sequence[Finding]) -> dict[Party, Standing]:
    """How each of the three stands; unknown is who was not asked lately, unused who never is."""
    found: dict[Party, Standing] = {"mimic": "good", "token_service": "good", "backend": "good"}
    answered = seen.completed_lately or any(
        seen.causes[cause] for cause in ("completed", "client_error", "throttled", "upstream_5xx")
    )
    if not answered:
        found["backend"] = "unknown"
    elif _last_call_failed(seen):
        found["backend"] = "warning"
    if not seen.token.required:
        found["token_service"] = "unused"
    elif seen.token.last_result is None:
        found["token_service"] = "unknown"
    for finding in reversed(findings):
        if finding.level != "good" and finding.party in found:
            found[finding.party] = finding.level
    return found


def _of_readiness(seen: Circumstances) -> Iterator[Finding]:
    for name, holds, why in seen.conditions:
        if holds or name == "token":
            continue
        if name == "serving":
            yield Finding(
                level="bad",
                party="mimic",
                sentence="Mimic is stopping",
                advice="What runs may finish; new calls are refused and should go elsewhere.",
            )
        else:
            yield Finding(level="bad", party="mimic", sentence=f"Mimic is not ready: {name}", advice=why)


def _of_the_token(seen: Circumstances) -> Iterator[Finding]:
    token = seen.token
    if token.trouble is None:
        if not token.held:
            sentence = "The first access token is being fetched"
            if token.generation:
                sentence = "A new access token is being fetched, the last one is not valid any more"
            yield Finding(level="warning", party="token_service", sentence=sentence, advice="Calls wait for it.")
        return
    level: Level = "warning" if token.held else "bad"
    party: Party = "mimic"
    if token.consecutive_failures and token.last_result is not None and token.last_result != "success":
        sentence, party, since = REFUSED[token.last_result], "token_service", seen.token_failing_since
    else:
        # Nobody was asked: the secret is missing, used up, or cannot be sent.
        sentence, since = "Mimic has no secret that it can use", None
    advice = token.trouble
    if token.held:
        advice += " The present token serves on until it expires."
    yield Finding(level=level, party=party, sentence=sentence, advice=advice, since=since)


def _of_the_breaker(seen: Circumstances) -> Iterator[Finding]:
    if seen.breaker_open:
        yield Finding(
            level="bad",
            party="backend",
            sentence="The backend failed repeatedly and is given a pause",
            advice="Calls are refused for BREAKER_COOLDOWN; then one is let through as a try.",
        )


def _of_silence(seen: Circumstances) -> Iterator[Finding]:
    if seen.silent:
        calls = "1 call has" if seen.silent == 1 else f"{seen.silent} calls have"
        yield Finding(
            level="warning",
            party="backend",
            sentence=f"{calls} waited for the backend's first byte for up to {seen.silent_seconds:.0f} s",
            advice="A long answer that is not streamed may take its time. Otherwise the backend hangs; Mimic gives it "
            "up after FIRST_BYTE_TIMEOUT.",
        )


def _last_call_failed(seen: Circumstances) -> bool:
    """Of the calls that the backend was asked about. A caller's mistake counts only where no call has succeeded."""
    mistakes: tuple[Cause, ...] = ("client_error", "throttled") if seen.causes["completed"] else ()
    failed = [moment for cause, moment in seen.last.items() if cause not in (*NEVER_ASKED, *WELL, *mistakes)]
    return max(failed, default=0.0) > seen.last.get("completed", 0.0)


def _counted(causes: Mapping[Cause, int]) -> int:
    """Calls that could have succeeded."""
    return sum(causes.values()) - causes["shutdown"] - causes["client_disconnect"]


def _of_calls(seen: Circumstances) -> Iterator[Finding]:
    asked, counted = sum(seen.causes.values()) - seen.causes["shutdown"], _counted(seen.causes)
    for cause in sorted(FAULTS, key=lambda cause: -seen.causes[cause]):
        # Without a token the state of the source has said it already.
        if seen.causes[cause] and (cause != "no_token" or seen.token.held):
            yield _fault(cause, seen, counted)
    for cause, told in CALLERS.items():
        total = asked if cause == "client_disconnect" else counted
        count = seen.causes[cause]
        if not count or (cause == "client_disconnect" and count < CALLERS_SHARE * total):
            # That some callers leave says nothing of anybody.
            continue
        yield Finding(
            level="warning" if count >= CALLERS_SHARE * total else "good",
            party=told.party,
            sentence=_sentence(told, count, total),
            advice=told.advice,
        )


def _fault(cause: Cause, seen: Circumstances, counted: int) -> Finding:
    told, count = FAULTS[cause], seen.causes[cause]
    over = _is_over(cause, seen)
    level: Level = "bad" if count >= BAD_SHARE * counted else "warning"
    sentence = _sentence(told, count, counted)
    if seen.nothing_works and seen.lately[cause]:
        level = "bad"
        sentence = _sentence(told, seen.lately[cause], _counted(seen.lately), f"{QUIET_SECONDS} seconds")
    return Finding(
        level="good" if over else level,
        party=told.party,
        sentence=sentence,
        advice="" if over else told.advice,
        until=seen.last.get(cause) if over else None,
    )


def _is_over(cause: Cause, seen: Circumstances) -> bool:
    if cause == "no_token":
        return True
    last = seen.last.get(cause, seen.now)
    return seen.now - last > QUIET_SECONDS and seen.completed_lately > 0


def _of_slots(seen: Circumstances) -> Iterator[Finding]:
    if seen.slots_limit and seen.slots_in_use >= seen.slots_limit and seen.queue:
        calls = "1 call waits" if seen.queue == 1 else f"{seen.queue} calls wait"
        yield Finding(
            level="warning",
            party="mimic",
            sentence=f"All {seen.slots_limit} slots are taken and {calls}",
            advice="Raise MAX_CONCURRENCY if the backend can take more, or add replicas.",
        )


def _all_is_well(seen: Circumstances) -> Finding:
    calls = sum(seen.causes.values())
    running = "1 call is" if seen.running == 1 else f"{seen.running} calls are"
    sentence = "All is well"
    if not calls:
        sentence = f"Ready, and {running} running" if seen.running else "Ready, and no calls in the last 5 minutes"
    return Finding(level="good", party="mimic", sentence=sentence)


def _sentence(told: Told, count: int, total: int, time: str = "5 minutes") -> str:
    """A share of few calls, and one that is next to nothing, say more as numbers."""
    if count == total > 1:
        share = f"all {total} calls"
    elif total >= MANY and 100 * count >= total:
        share = f"{100 * count / total:.0f} % of calls"
    else:
        share = f"{count} of {total} calls" if total > 1 else "the only call"
    return f"{told.sentence.format(share=share)} in the last {time}"

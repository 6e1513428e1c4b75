"""The settings of the operator's processes, read once from the environment into one frozen object.

Every setting is one field of `Settings`; its name in upper case is the variable, and its type names the reader.
KUBECONFIG is the Kubernetes client's own.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from mimic_operator.errors import Problem, SettingsError

AMOUNT = "[0-9]+(\\.[0-9]+)?(m|k|[KMGTPE]i?)?"
Reader = Callable[[str], object]
AT_A_CLUSTER = ("MIMIC_IMAGE", "MIMIC_NAMESPACE")
"""What the processes need and the offline commands do without."""


def _text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def _limits(value: str) -> dict[str, str]:
    found = _amounts(value)
    if "memory" not in found:
        raise ValueError("must limit memory too, as in memory=256Mi: buffers are measured by it")
    return found


def _whole(least: int, most: int) -> Reader:
    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return read


def _seconds(value: str) -> float:
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", value) is None or float(value) <= 0:
        raise ValueError("must be a number of seconds above 0, as in 2.5")
    return float(value)


def _one_of(*words: str) -> Reader:
    known = {word.lower(): word for word in words}

    def read(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"must be one of {', '.join(words)}")
        return known[value.lower()]

    return read


def _comma_list(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _amounts(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in _comma_list(value):
        name, equals, quantity = (piece.strip() for piece in part.partition("="))
        if not name or not equals or re.fullmatch(AMOUNT, quantity) is None:
            raise ValueError("must be amounts by resource, as in cpu=25m,memory=96Mi")
        found[name] = quantity
    return found


Text = Annotated[str, _text]
Seconds = Annotated[float, _seconds]
Flag = Annotated[bool, _flag]
Port = Annotated[int, _whole(0, 65_535)]
Names = Annotated[tuple[str, ...], _comma_list]
Amounts = Annotated[Mapping[str, str], _amounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of webhook and reconciler."""

    # The proxies.
    mimic_image: Text = "mimic:latest"
    """Image of proxies whose backend names none: the operator's own."""
    mimic_image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"], _one_of("Always", "IfNotPresent", "Never")
    ] = "IfNotPresent"
    proxy_requests: Amounts = field(default_factory=lambda: {"cpu": "25m", "memory": "96Mi"})
    proxy_limits: Annotated[Mapping[str, str], _limits] = field(default_factory=lambda: {"memory": "256Mi"})

    # Where this operator works.
    mimic_namespace: Text = "default"
    """The release's namespace: Lease, certificate and webhook Service are there."""
    watch_namespaces: Names = ()
    """Empty is the whole cluster."""
    lease_name: Text = "mimic-operator"

    # The webhook.
    webhook_host: Text = "0.0.0.0"
    webhook_port: Port = 9443
    webhook_cert_dir: Annotated[Path, Path] = Path("/etc/mimic-operator/certificate")
    """Holds tls.crt and tls.key."""
    webhook_service: Text = "mimic-webhook"
    webhook_names: Names = ()
    """Other names that its certificate is for, where the API server calls it by a URL."""
    webhook_configuration: Text = "mimic"
    """Name of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration."""
    cert_mode: Annotated[Literal["self", "certManager", "external"], _one_of("self", "certManager", "external")] = (
        "self"
    )
    cert_secret: Text = "mimic-webhook-certificate"

    # Rollouts.
    max_concurrent_rollouts: Annotated[int, _whole(1, 1000)] = 5
    """Workloads of all backends together that restart at once."""
    rollout_on_upgrade: Flag = False
    """Whether a new operator's new image restarts workloads by itself."""

    evict_missing: Flag = False
    """Whether pods without the sidecar are evicted where their backend says `rollout.restartMissing`."""

    # Periods and deadlines. The defaults are right for clusters; tests shorten them.
    watch_seconds: Seconds = 290.0
    """Length of one watch request; the next goes on where it ended."""
    watch_retry_seconds: Seconds = 30.0
    """The longest pause before a failed list or watch is repeated; pauses double up to it."""
    sync_deadline_seconds: Seconds = 120.0
    """Within it every kind must have been listed once after a start, or the process ends and names the kind."""
    resync_seconds: Seconds = 300.0
    """Within it every MimicBackend is reconciled, whatever events were lost."""
    definition_poll_seconds: Seconds = 10.0
    """How often the CustomResourceDefinition is read while it is absent, terminating or too old."""
    lease_duration_seconds: Seconds = 15.0
    """After it without a renewal another reconciler takes the Lease."""
    lease_renew_seconds: Seconds = 10.0
    """After it without a renewal the holder of the Lease ends."""
    lease_retry_seconds: Seconds = 2.0
    """The pause between attempts to take or to renew the Lease."""

    # Telemetry.
    metrics_host: Text = "0.0.0.0"
    metrics_port: Port = 8080
    """Health and metrics."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _one_of("DEBUG", "INFO", "WARNING", "ERROR")] = (
        "INFO"
    )
    log_format: Annotated[Literal["json", "console"], _one_of("json", "console")] = "json"


def load(environ: Mapping[str, str], *, needed: Collection[str] = ()) -> Settings:
    """The settings; an empty variable counts as not set. needed: variables that must be set.

    Raises SettingsError with all problems at once, by variable and without the value.
    """
    hints = get_type_hints(Settings, include_extras=True)
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    for entry in fields(Settings):
        name = entry.name.upper()
        value = environ.get(name, "").strip()
        if value:
            reader: Reader = get_args(hints[entry.name])[1]
            try:
                found[entry.name] = reader(value)
            except ValueError as wrong:
                problems.append(Problem(name, str(wrong)))
        elif name in needed or (entry.default is MISSING and entry.default_factory is MISSING):
            problems.append(Problem(name, "is missing"))
    if problems:
        raise SettingsError(problems)
    made = Settings(**found)
    if not made.lease_retry_seconds < made.lease_renew_seconds < made.lease_duration_seconds:
        sentence = "must be shorter than LEASE_DURATION_SECONDS and longer than LEASE_RETRY_SECONDS"
        raise SettingsError([Problem("LEASE_RENEW_SECONDS", sentence)])
    return made

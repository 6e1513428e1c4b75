"""Alerts on access tokens, per pod: each has a token of its own. Alertmanager groups those that come together."""

from observability.places import TOKENS
from observability.rulefile import Alert, Group

POD = "{{ $labels.namespace }}/{{ $labels.pod }}"
LEFT = "mimic_token_issued_timestamp_seconds + mimic_token_lifetime_seconds - time()"
"""Seconds of the token that is held: of an assumed lifetime too, whose expiry nobody knows. Far below 0 without one."""
DUE = "mimic_token_issued_timestamp_seconds + mimic_token_lifetime_seconds - mimic_token_refresh_margin_seconds"
SOON_SECONDS = 1800
"""Less is left of the token than a person takes to get up and mend something."""
FAILURES = 3


def _expired() -> Alert:
    # Readiness and not the expiry: it covers a token that never came, or was refused, and clocks that differ.
    return Alert(
        name="MimicTokenExpired",
        severity="critical",
        expr='mimic_ready{condition="token"} == 0\nand ignoring (condition) mimic_token_required == 1',
        hold="1m",
        board=TOKENS,
        summary=f"{POD} holds no usable access token",
        description=(
            f"For a minute {POD} has had no access token that it may use, so every call fails with token_unavailable "
            "or token_rejected. Calls to the token service in the last 15 minutes:"
            "{{ range query (printf `sort_desc(sum by (result) ("
            'increase(mimic_token_refresh_total{namespace="%s",pod="%s"}[15m])) > 0)` '
            "$labels.namespace $labels.pod) }} {{ .Labels.result }} {{ .Value | humanize }},{{ end }} "
            "and /readyz of the pod says why the last one failed."
        ),
    )


def _not_renewed() -> Alert:
    return Alert(
        name="MimicTokenNotRenewed",
        severity="warning",
        expr=(
            f"time() - ({DUE}) > clamp_max(mimic_token_refresh_margin_seconds / 2, 900)\n"
            "and mimic_token_lifetime_seconds > 0\n"
            "and mimic_token_required == 1"
        ),
        hold="2m",
        board=TOKENS,
        summary=f"{POD} should have renewed its access token {{{{ $value | humanizeDuration }}}} ago",
        description=(
            f"The access token of {POD} was to be renewed {{{{ $value | humanizeDuration }}}} ago and was not. It "
            "serves until it expires; then every call of this pod fails."
        ),
    )


def _refresh_failing(*, soon: bool) -> Alert:
    left = f"({LEFT}) {'<' if soon else '>='} {SOON_SECONDS}"
    return Alert(
        name="MimicTokenRefreshFailing",
        severity="critical" if soon else "warning",
        expr=f"mimic_token_consecutive_failures >= {FAILURES}\nand mimic_token_required == 1\nand {left}",
        hold="5m",
        board=TOKENS,
        summary=f"The last {{{{ $value }}}} calls of {POD} to the token service failed",
        description=(
            f"The last {{{{ $value }}}} calls of {POD} to the token service failed, without a success between them. "
            + (
                f"The token that it holds ends within {SOON_SECONDS // 60} minutes, or there is none; then every call "
                "of this pod fails."
                if soon
                else f"The token that it holds serves for {SOON_SECONDS // 60} minutes and more."
            )
        ),
    )


def _rejected() -> Alert:
    # A success forgives: without the second part one refusal of the token service's would ring for five minutes.
    return Alert(
        name="MimicAuthCodeRejected",
        severity="critical",
        expr=(
            'sum by (namespace, job, pod) (increase(mimic_token_refresh_total{result=~"rejected|lost"}[5m])) > 0\n'
            "and on (namespace, job, pod) mimic_token_consecutive_failures > 0"
        ),
        hold="2m",
        board=TOKENS,
        summary=f"The token service refuses the secret of {POD}",
        description=(
            f"The token service answered 400, 401 or 403 to {POD} ({{{{ $value | humanize }}}} times in 5 minutes). It "
            "does not heal by itself: a new AUTH_CODE is needed before the present token ends."
        ),
    )


def _storm() -> Alert:
    return Alert(
        name="MimicRefreshStorm",
        severity="warning",
        expr='sum by (namespace, job, pod) (rate(mimic_token_refresh_total{trigger="unauthorized"}[5m])) > 0.1',
        hold="10m",
        board=TOKENS,
        summary=f"The backend keeps refusing new access tokens of {POD}",
        description=(
            f"{POD} fetches {{{{ $value | humanize }}}} tokens a second because the backend refused the one before. "
            "Its calls fail with upstream_auth_failed or are each made twice, and the token service bears the load."
        ),
    )


def group() -> Group:
    """All of them."""
    alerts = (
        _expired(),
        _not_renewed(),
        _refresh_failing(soon=True),
        _refresh_failing(soon=False),
        _rejected(),
        _storm(),
    )
    return Group("mimic.tokens", alerts)

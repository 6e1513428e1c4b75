"""What the webhook says of a MimicBackend that is written."""

from typing import Any

import pytest

from fakes.manifests import DEFAULTS, Manifest, backend, shared
from mimic_operator.cli.render import explain
from mimic_operator.resource.backend import parse
from mimic_operator.resource.revision import revision_of
from mimic_operator.resource.selection import candidate
from mimic_operator.resource.warnings import REASONS, warnings_of
from mimic_operator.webhook.validate import judge

DEFAULT = {"default": True}
NEWER = {"image": {"tag": "2.0"}}
REFRESH = {"grant": "RefreshToken", "tokenURL": "https://login.example.com/token", "secretRef": {"name": "s"}}


def said(new: Manifest, old: Manifest | None = None, others: tuple[Manifest, ...] = ()) -> tuple[str, tuple[str, ...]]:
    found = judge(new, old, [candidate(each) for each in others], DEFAULTS)
    return found.refusal, found.warnings


def test_a_second_default_is_refused():
    refusal, _ = said(backend("spare", injection=DEFAULT), others=(backend(injection=DEFAULT),))
    assert refusal.startswith("spec.injection.default: corp is the default of the namespace shop already")


@pytest.mark.parametrize(
    ("new", "old", "others"),
    [
        (backend(injection=DEFAULT), None, ()),
        (backend(injection=DEFAULT), None, (backend(injection=DEFAULT),)),
        (backend("spare"), None, (backend(injection=DEFAULT),)),
        (backend("spare", injection=DEFAULT), backend("spare", injection=DEFAULT), (backend(injection=DEFAULT),)),
    ],
    ids=["the first", "itself", "no default", "one that was one before, or nothing could be mended"],
)
def test_nothing_else_is(new: Manifest, old: Manifest | None, others: tuple[Manifest, ...]):
    assert said(new, old, others)[0] == ""


@pytest.mark.parametrize(
    ("status", "rollout", "text"),
    [
        (
            {"injected": {"total": 7}},
            {},
            "7 pods have the sidecar; they get this when they are created again (kubectl rollout restart).",
        ),
        ({"rollout": {"total": 1}}, {}, "restarts 1 workload that"),
        (
            {"rollout": {"total": 3}, "injected": {"total": 9}},
            {"policy": "Manual"},
            "needs a restart of 3 workloads (9",
        ),
    ],
)
def test_what_restarts_is_told_before_it_does(status: dict[str, Any], rollout: dict[str, Any], text: str):
    old = backend(status=status, rollout=rollout)
    _, (warning,) = said(backend(proxy=NEWER, rollout=rollout), old)
    assert text in warning


def test_what_reaches_the_pods_without_a_restart_is_no_news():
    old = backend(status={"injected": {"total": 7}})
    assert said(backend(models={"static": ["a"]}), old) == ("", ())
    assert said(backend(proxy=NEWER), backend()) == ("", ())


def test_a_shared_proxy_restarts_by_itself():
    guarded = {"networkPolicy": {"enabled": True}, "access": "Protected"}
    old, new = shared(**guarded), shared(**guarded)
    new["spec"]["proxy"] = NEWER
    assert said(new, old)[1] == ("This change restarts the pods of the shared proxy, one after another.",)


def test_refresh_tokens_beside_many_pods_and_a_suspension_are_warned_of():
    assert "several pods share one refresh token" in said(backend(auth=REFRESH))[1][0]
    assert said(backend(suspend=True))[1] == (
        "spec.suspend: no change of this resource reaches a pod until it is false.",
    )


def test_an_invalid_one_is_told_field_by_field():
    (warning,) = said(backend(chat={"url": "http://x.example"}))[1]
    assert warning.startswith("spec.chat.url must begin with https://")


WARNINGS = {
    "NotVerified": (backend(tls={"insecureSkipVerify": True}), "spec.tls.insecureSkipVerify: "),
    "PlainHttp": (backend(tls={"insecure": True}, chat={"url": "http://a"}), "spec.tls.insecure: "),
    "Open": (shared(), "spec.deployment.access: "),
    "RefreshTokenShared": (backend(auth=REFRESH), "spec.auth.singleUse: "),
    "NoTokenStore": (
        backend(auth={**REFRESH, "singleUse": True}, mode="Deployment", deployment={"access": "Open", "replicas": 1}),
        "spec.auth.tokenStore: ",
    ),
    "DebugLogs": (backend(proxy={"logLevel": "DEBUG"}), "spec.proxy.logLevel: "),
    "NoEffect": (backend(injection={"env": {"mode": "None", "extra": [{"name": "A"}]}}), "spec.injection.env.extra: "),
    "Suspended": (backend(suspend=True), "spec.suspend: "),
    "WholeNamespace": (
        backend(injection={"workloads": {"selector": {}}}),
        "spec.injection.workloads.selector: ",
    ),
}


def test_every_warning_has_a_case():
    assert WARNINGS.keys() == REASONS.keys()


@pytest.mark.parametrize("reason", WARNINGS)
def test_a_warning_is_an_admission_warning_and_a_line_of_the_explanation_alike(reason: str):
    given, path = WARNINGS[reason]
    read = parse(given)
    (warning,) = [each for each in warnings_of(read) if each.reason == reason]
    assert f"{warning.path}: {warning.sentence}." in said(given)[1]
    assert warning.path.startswith(path.removesuffix(": "))
    shown = " ".join(explain(read, revision_of(read, DEFAULTS)).split())
    assert f"Warning {warning.path}: {warning.sentence}" in shown
    assert [each.reason for each in warnings_of(parse(backend()))] == []


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("spec.injection.port", {"injection": {"port": 9000}}),
        ("spec.injection.adminPort", {"injection": {"adminPort": 9000}}),
        ("spec.injection.native", {"injection": {"native": "Never"}}),
        ("spec.injection.readiness", {"injection": {"readiness": "Token"}}),
        ("spec.rollout", {"rollout": {"policy": "Manual"}}),
    ],
)
def test_what_a_deployment_has_no_use_for_is_told(field: str, spec: dict[str, Any]):
    central = shared()
    central["spec"] |= spec
    assert f"{field}: has no effect in mode Deployment." in said(central)[1]
    assert said(backend(**spec))[1] == ()


def test_a_second_backend_without_a_default_warns_that_pods_will_be_denied():
    refusal, (warning,) = said(backend("spare"), others=(backend(),))
    assert refusal == ""
    assert "several MimicBackends (corp, spare) and none is its default" in warning
    assert "They got corp until now. Set spec.injection.default on one of them." in warning


@pytest.mark.parametrize(
    ("new", "old", "others"),
    [
        (backend(), None, ()),
        (backend("spare"), None, (backend(injection=DEFAULT),)),
        (backend("spare", injection=DEFAULT), None, (backend(),)),
        (shared(namespace="shop", networkPolicy={"enabled": True}, access="Protected"), None, (backend(),)),
        (backend("spare"), backend("spare"), (backend(),)),
    ],
    ids=["the first", "beside a default", "as the default", "a shared one", "pods were denied before"],
)
def test_no_other_backend_warns_of_it(new: Manifest, old: Manifest | None, others: tuple[Manifest, ...]):
    assert said(new, old, others) == ("", ())


def test_a_shared_proxy_that_becomes_a_sidecar_warns_of_the_pods_that_call_it():
    guarded = {"networkPolicy": {"enabled": True}, "access": "Protected"}
    warnings = said(backend("central"), shared(namespace="shop", **guarded))[1]
    assert any("This change deletes the shared proxy" in each for each in warnings)


def test_an_empty_selector_warns_that_it_selects_the_whole_namespace():
    (warning,) = said(backend(injection={"workloads": {"selector": {}}}))[1]
    assert warning.startswith("spec.injection.workloads.selector: an empty selector selects every workload")
    assert said(backend(injection={"workloads": {"selector": {"matchLabels": {"a": "b"}}}}))[1] == ()

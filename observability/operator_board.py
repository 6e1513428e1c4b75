"""The dashboard of the operator: does somebody lead, do backends settle, do pods get what they ask for."""

from mimic_operator.catalogue import (
    ADMISSIONS,
    API_REQUESTS,
    BUILD,
    CERTIFICATE,
    CERTIFICATE_RELOADS,
    DEGRADED,
    EVENTS,
    FAILING,
    HALTED,
    INDEXED,
    LEADER,
    MANAGED,
    MISSES,
    NOT_READY,
    NOTES,
    PODS,
    QUEUE_AGE,
    RECONCILE_DURATION,
    RECONCILES,
    REVIEW_DURATION,
    ROLLOUTS,
    SERVED_CERTIFICATE,
    SKIPPED,
    SPANS,
    VALIDATIONS,
    WATCH_AGE,
)
from observability.panels import BLUE, GREEN, ORANGE, RED, YELLOW, Dashboard, Panel, Query, Row, stat
from observability.places import OPERATOR as UID
from observability.promql import OPERATOR, one_of, total

pick, rate, quantile = OPERATOR.pick, OPERATOR.rate, OPERATOR.quantile
NOBODY = "no operator"
DAY = 86400.0
VERDICTS = {"^admitted": GREEN, "^warned": ORANGE, "^denied": RED}


def _now() -> Row:
    denied = pick(ADMISSIONS.name, 'verdict="denied"')
    return Row(
        "Now",
        (
            stat(
                "Leaders",
                total(pick(LEADER.name)),
                "1 is right. 0: nothing is reconciled; pods still get the sidecar, from the webhook.",
                "short",
                ((None, RED), (1, GREEN), (2, RED)),
                NOBODY,
            ),
            stat(
                "Backends not ready",
                total(pick(MANAGED.name, 'ready="False"')),
                "MimicBackends whose condition Ready is not True. `kubectl get mb -A` names them and says why.",
                "short",
                ((None, GREEN), (1, ORANGE)),
                NOBODY,
            ),
            stat(
                "Rollouts that stand still",
                total(pick(DEGRADED.name, one_of("reason", HALTED))),
                "A workload did not settle with the new sidecar; the rest is left alone until it is mended.",
                "short",
                ((None, GREEN), (1, RED)),
                NOBODY,
            ),
            stat(
                "Pods without the sidecar",
                total(pick(PODS.name, 'state="missing"')),
                "They ask for it and were made while the webhook was away, or by the label of its namespace.",
                "short",
                ((None, GREEN), (1, ORANGE)),
                NOBODY,
            ),
            stat(
                "Pods denied in the time range",
                f"sum(increase({denied}[$__range]))",
                "One workload is denied again and again until it is mended. The panel of denials says why.",
                "short",
                ((None, GREEN), (1, YELLOW), (20, ORANGE)),
                NOBODY,
            ),
            stat(
                "Shortest certificate",
                f"min({pick(SERVED_CERTIFICATE.name)}) - time()",
                "Life left of what the webhook serves. At 0 the API server trusts it no more: labelled pods are "
                "refused.",
                "s",
                ((None, RED), (DAY, ORANGE), (7 * DAY, GREEN)),
                NOBODY,
            ),
        ),
    )


def _admission() -> Row:
    return Row(
        "Admission",
        (
            Panel(
                title="Pods by what became of them",
                description="Reviews per second. admitted: as asked for. warned: without the sidecar, or with a note "
                "that somebody should read. denied: not started.",
                queries=(Query(total(rate(ADMISSIONS.name), "verdict"), "{{verdict}}"),),
                unit="reqps",
                stacked=True,
                colours=VERDICTS,
            ),
            Panel(
                title="Denials by reason",
                description="Words of docs/reference/injection.md. Undecided and Failed are the operator's own "
                "trouble; the others are for whoever wrote pod or backend.",
                queries=(Query(total(rate(ADMISSIONS.name, 'verdict="denied"'), "reason"), "{{reason}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Time of a review",
                description="By webhook. The operator gives up after 2 s and says so, the API server after 5 s.",
                queries=tuple(
                    Query(quantile(which, REVIEW_DURATION.name, by=("handler",)), f"{{{{handler}}}} p{which * 100:.0f}")
                    for which in (0.5, 0.99)
                ),
                unit="s",
                log=True,
                at_least=None,
                thresholds=((None, GREEN), (1.024, RED)),
            ),
            Panel(
                title="Notes on pods",
                description="What whoever writes pods was told besides, by its word (docs/reference/injection.md).",
                queries=(Query(total(rate(NOTES.name), "note"), "{{note}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="MimicBackends that were judged",
                description="Writes of resources, by what was said to them. A denial is a second default in one "
                "namespace.",
                queries=(Query(total(rate(VALIDATIONS.name), "verdict"), "{{verdict}}"),),
                unit="reqps",
                stacked=True,
                colours=VERDICTS,
            ),
            Panel(
                title="Events about workloads",
                description="posted: written after the answer. dropped: too many at once. failed: the API server "
                "refused; the log says why.",
                queries=(Query(total(rate(EVENTS.name), "result"), "{{result}}"),),
                unit="reqps",
                stacked=True,
                colours={"^posted$": GREEN, "^(failed|dropped)$": RED},
            ),
        ),
    )


def _index() -> Row:
    return Row(
        "What the webhook knows",
        (
            Panel(
                title="Objects in the index",
                description="By pod and kind. The pods of the webhook must agree; one that lags denies what it does "
                "not know, after a call to make sure.",
                queries=(Query(pick(INDEXED.name), "{{pod}} {{kind}}"),),
                unit="short",
            ),
            Panel(
                title="Age of the watches",
                description="Time since the last sign of life of each watch. The API server sends a bookmark each "
                "minute, so a line that climbs past five minutes is a watch that is broken.",
                queries=(Query(f"max by (pod, kind) ({pick(WATCH_AGE.name)})", "{{pod}} {{kind}}"),),
                unit="s",
                thresholds=((None, GREEN), (300, RED)),
            ),
            Panel(
                title="Index misses",
                description="Reviews that had to ask the API server. Some after a new backend; a steady rate makes "
                "reviews slow.",
                queries=(Query(total(rate(MISSES.name), "kind"), "{{kind}}"),),
                unit="reqps",
                stacked=True,
            ),
        ),
    )


def _reconciling() -> Row:
    return Row(
        "Reconciling",
        (
            Panel(
                title="Reconciles by result",
                description="Of MimicBackends, per second. Every five minutes each has one whatever happened.",
                queries=(Query(total(rate(RECONCILES.name), "result"), "{{result}}"),),
                unit="reqps",
                stacked=True,
                colours={"^ok$": GREEN, "^error$": RED},
            ),
            Panel(
                title="Reconciles that failed, by reason",
                description="conflict: somebody wrote at the same time, heals by itself. forbidden: a right is "
                "missing. invalid: the API server refuses what is written. throttled, unavailable, unreachable, "
                "timeout: the API server. internal: a defect, with a trace in the log.",
                queries=(Query(total(rate(RECONCILES.name, 'result="error"'), "reason"), "{{reason}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Backends whose last reconcile failed",
                description="They are tried again after up to five minutes. What stays here for a quarter of an hour "
                "does not heal by itself.",
                queries=(Query(total(pick(FAILING.name), "reason"), "{{reason}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Duration of a reconcile",
                description="Nearly all of it is the API server's. A turn that writes to a workload takes longest.",
                queries=tuple(
                    Query(quantile(which, RECONCILE_DURATION.name), f"p{which * 100:.0f}")
                    for which in (0.5, 0.95, 0.99)
                ),
                unit="s",
                log=True,
                at_least=None,
            ),
            Panel(
                title="Oldest in the queue",
                description="How long the backend that waits longest has waited for a worker. More than seconds after "
                "a start: the API server is slow or throttles.",
                queries=(Query(f"max({pick(QUEUE_AGE.name)})", "waits"),),
                unit="s",
                thresholds=((None, GREEN), (60, RED)),
            ),
            Panel(
                title="Requests to the API server",
                description="By verb, elections included. In a quiet cluster a watch request every five minutes for "
                "each kind, and two requests every two seconds for the Lease.",
                queries=(Query(total(rate(API_REQUESTS.name), "verb"), "{{verb}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Namespaces skipped",
                description="Watched namespaces in which the API server refuses every kind: they were deleted, or "
                "their Roles were. They are taken up again when they are back.",
                queries=(Query(f"max by (pod) ({pick(SKIPPED.name)})", "{{pod}}"),),
                unit="short",
                thresholds=((None, GREEN), (1, ORANGE)),
                width=24,
            ),
        ),
    )


def _rollouts() -> Row:
    return Row(
        "Backends and their pods",
        (
            Panel(
                title="Backends",
                description="By mode and condition Ready.",
                queries=(Query(total(pick(MANAGED.name), "mode", "ready"), "{{mode}}, ready {{ready}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Pods by their sidecar",
                description="outdated: an earlier revision, until their workload is rolled out. missing: none at all.",
                queries=(Query(total(pick(PODS.name), "state"), "{{state}}"),),
                unit="short",
                stacked=True,
                colours={"^current$": GREEN, "^outdated$": BLUE, "^missing$": RED},
            ),
            Panel(
                title="Degraded backends by reason",
                description="ProgressTimeout, ReplicaFailure: a rollout stands still. Refused: a workload cannot be "
                "written. Contended: somebody takes our fields off again. SingleUseCredential: sidecars would use up "
                "the secret.",
                queries=(Query(total(pick(DEGRADED.name), "reason"), "{{reason}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Backends that are not ready, by reason",
                description="The reason of condition Ready where it is not True.",
                queries=(Query(total(pick(NOT_READY.name), "reason"), "{{reason}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Rollouts that ended, or halted",
                description="In each interval. A halt is one workload that did not settle.",
                queries=(Query(total(f"increase({pick(ROLLOUTS.name)}[$__rate_interval])", "result"), "{{result}}"),),
                unit="short",
                colours={"^complete$": GREEN, "^halted$": RED},
                width=16,
            ),
        ),
    )


def _processes() -> Row:
    return Row(
        "Processes",
        (
            Panel(
                title="Who leads",
                description="1 for the pod that works. Changes are restarts, or an API server that could not be "
                "reached for ten seconds.",
                queries=(Query(pick(LEADER.name), "{{pod}}"),),
                unit="short",
                at_most=1,
            ),
            Panel(
                title="Life left of certificates",
                description="served: by each pod of the webhook. made: by the operator, if it makes them. Served must "
                "follow made within minutes.",
                queries=(
                    Query(f"{pick(SERVED_CERTIFICATE.name)} - time()", "served by {{pod}}"),
                    Query(f"max({pick(CERTIFICATE.name)} > 0) - time()", "made"),
                ),
                unit="s",
                thresholds=((None, RED), (7 * DAY, GREEN)),
            ),
            Panel(
                title="Certificates taken over",
                description="In each interval. failed: the new files are no pair, and the old certificate goes on "
                "until it ends.",
                queries=(
                    Query(
                        total(f"increase({pick(CERTIFICATE_RELOADS.name)}[$__rate_interval])", "result"), "{{result}}"
                    ),
                ),
                unit="short",
                colours={"^ok$": GREEN, "^failed$": RED},
            ),
            Panel(
                title="Memory",
                description="Resident. Grows with the number of workloads and labelled pods that are watched.",
                queries=(Query(pick("process_resident_memory_bytes"), "{{pod}}"),),
                unit="bytes",
                width=6,
            ),
            Panel(
                title="Processor",
                description="Cores in use. Near the limit of the container everything here is late.",
                queries=(Query(rate("process_cpu_seconds_total"), "{{pod}}"),),
                unit="short",
                width=6,
            ),
            Panel(
                title="Versions",
                description="Pods of the operator by process and version. Two versions for longer than an upgrade "
                "takes are one that is stuck.",
                queries=(Query(total(pick(BUILD.name), "process", "version"), "{{process}} {{version}}"),),
                unit="short",
                width=6,
            ),
            Panel(
                title="Spans",
                description="Handed to the collector, if one is named. failure: it refused, or was away.",
                queries=(Query(total(rate(SPANS.name), "result"), "{{result}}"),),
                unit="reqps",
                stacked=True,
                width=6,
                colours={"^success$": GREEN, "^failure$": RED},
            ),
        ),
    )


def dashboard() -> Dashboard:
    """The operator in one screen."""
    return Dashboard(
        UID,
        "Mimic / Operator",
        "Whether the operator works: one leads, backends settle, pods that ask for the sidecar get it in time.",
        (_now(), _admission(), _reconciling(), _rollouts(), _index(), _processes()),
        about="operator",
    )

"""Reads the facts that the check judges. Nothing is written: the one pod that is sent is a dry run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import httpx2
import msgspec
from lightkube import KubeConfig
from lightkube.config.client_adapter import Client, ConnectionParams

from mimic_operator.check.facts import Installation, Object, PodFacts, Trial
from mimic_operator.resource import naming
from mimic_operator.resource.kinds import BACKEND, CLUSTER_BACKEND
from mimic_operator.resource.selection import candidate, cluster_candidate, named_key
from mimic_operator.runtime.client import path_of
from mimic_operator.runtime.faults import Fault, fault_of
from mimic_operator.runtime.kinds import (
    CONTROLLER_REVISION,
    CRD,
    DEPLOYMENT,
    EVENT,
    LEASE,
    MUTATING,
    NAMESPACE,
    POD,
    VALIDATING,
    Kind,
)

CALL_SECONDS = 15.0
TRIES, RETRY_SECONDS = 4, 1.0
TOO_MANY_REQUESTS = 429
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
WATCHED = ("get", "list", "watch")
OWNED = (*WATCHED, "create", "patch", "delete")
PERMISSIONS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "webhook": (
        ("mimic.dev", "mimicbackends", WATCHED),
        ("apps", "controllerrevisions", WATCHED),
        ("apps", "replicasets", ("get",)),
        ("batch", "jobs", ("get",)),
        ("", "events", ("create",)),
    ),
    "reconciler": (
        ("mimic.dev", "mimicbackends", WATCHED),
        ("mimic.dev", "mimicbackends/status", ("patch",)),
        ("apps", "deployments", OWNED),
        ("apps", "statefulsets", (*WATCHED, "patch")),
        ("apps", "daemonsets", (*WATCHED, "patch")),
        ("batch", "cronjobs", (*WATCHED, "patch")),
        ("", "pods", WATCHED),
        ("apps", "controllerrevisions", OWNED),
        ("", "configmaps", OWNED),
        ("", "services", OWNED),
        ("", "serviceaccounts", OWNED),
        ("policy", "poddisruptionbudgets", OWNED),
        ("autoscaling", "horizontalpodautoscalers", OWNED),
        ("networking.k8s.io", "networkpolicies", OWNED),
        ("", "events", ("create",)),
    ),
}
"""What each process needs in the namespaces that it serves: API group, resource, verbs."""
EVERYWHERE: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "webhook": (("", "namespaces", ("get",)), ("mimic.dev", "clustermimicbackends", ("list",))),
    "reconciler": (
        ("", "namespaces", ("list", "watch")),
        ("mimic.dev", "clustermimicbackends", WATCHED),
        ("mimic.dev", "clustermimicbackends/status", ("patch",)),
        ("mimic.dev", "mimicbackends", ("create", "delete")),
    ),
}
"""What each needs besides where it serves the whole cluster."""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The trial pod fits into every namespace (Pod Security Standards)."""
SMALL = {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}}


class Reader:
    """One API server, as the user of KUBECONFIG or the service account of the pod."""

    def __init__(self, config: KubeConfig, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        single = config.get()
        assert single is not None
        self._http = Client(single, ConnectionParams(timeout=httpx2.Timeout(CALL_SECONDS), trust_env=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str) -> dict[str, Any] | None:
        """None where there is nothing. Raises Fault."""
        found = self._call("GET", path, parameters)
        return None if found[0] == 404 else self._whole(found, f"get {path}")

    def list(self, kind: Kind, namespace: str | None = None, **parameters: str) -> list[dict[str, Any]]:
        """All of a kind. Raises Fault."""
        path = path_of(kind, namespace)
        found = self._whole(self._call("GET", path, parameters), f"list {kind.plural}")
        return [{"kind": kind.kind, "apiVersion": kind.api_version} | each for each in found.get("items") or ()]

    def post(self, path: str, body: Object, **parameters: str) -> tuple[int, dict[str, Any]]:
        """Status and content. Raises Fault only where no response came."""
        return self._call("POST", path, parameters, body)

    def _call(
        self, method: str, path: str, parameters: Mapping[str, str], body: Object | None = None
    ) -> tuple[int, dict[str, Any]]:
        """An API server that is busy, or has just learned of a new kind, is asked again some times."""
        status, content = TOO_MANY_REQUESTS, b""
        for attempt in range(TRIES):
            if attempt:
                self._sleep(RETRY_SECONDS)
            try:
                response = self._http.request(method, path, params=dict(parameters), json=body)
            except httpx2.HTTPError as error:
                raise Fault("unreachable", f"{method.lower()} {path}: {type(error).__name__}") from error
            status, content = response.status_code, response.content
            if status != TOO_MANY_REQUESTS:
                break
        try:
            found = msgspec.json.decode(content)
        except msgspec.DecodeError:
            found = {}
        return status, found if isinstance(found, dict) else {}

    def _whole(self, found: tuple[int, dict[str, Any]], doing: str) -> dict[str, Any]:
        status, content = found
        if status >= 400:
            raise fault_of(status, content, None, doing)
        return content


class Survey:
    """Collects the facts; what cannot be read is a fact as well."""

    def __init__(self, reader: Reader, version: str) -> None:
        self._reader, self._version = reader, version
        self._unread: list[str] = []

    def installation(self, namespace: str | None) -> Installation:
        """namespace: where the trial pod is sent; None for the first one with a MimicBackend. Raises Fault."""
        about = self._reader.get("/version") or {}
        backends = self._list(BACKEND)
        deployments = self._list(DEPLOYMENT, labelSelector=f"{naming.LABEL_COMPONENT} in (webhook, reconciler)")
        configurations = [
            each
            for kind in (MUTATING, VALIDATING)
            for each in self._list(kind)
            if any(str(entry.get("name")).endswith(f".{naming.GROUP}") for entry in each.get("webhooks") or ())
        ]
        homes = sorted({str(each["metadata"]["namespace"]) for each in deployments})
        trial_namespace = namespace or next((each["metadata"]["namespace"] for each in backends), "default")
        return Installation(
            version=self._version,
            server=f"{about.get('major')}.{about.get('minor')}",
            definitions=self._definitions(),
            deployments=deployments,
            leases=[lease for home in homes for lease in self._list(LEASE, home)],
            endpoints=self._endpoints(configurations),
            configurations=configurations,
            namespaces={
                each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in self._list(NAMESPACE)
            },
            backends=backends,
            clusters=self._list(CLUSTER_BACKEND),
            pods=self._pods(),
            trial=self._trial(trial_namespace),
            denied=[found for each in deployments for found in self._denied(each)],
            unread=tuple(self._unread),
        )

    def pod(self, namespace: str, name: str) -> PodFacts:
        """Raises Fault."""
        pod = self._reader.get(path_of(POD, namespace, name))
        about = f"involvedObject.kind=Pod,involvedObject.name={name},type=Warning"
        own = self._get(NAMESPACE, namespace) or {}
        backends = self._list(BACKEND, namespace)
        named = ((pod or {}).get("metadata") or {}).get("annotations", {}).get(naming.ANNOTATION_BACKEND)
        try:
            key = named_key(named, namespace)
        except ValueError:
            key = None
        if key is not None and key.namespace != namespace:
            other = self._reader.get(path_of(BACKEND, *key))
            backends += [] if other is None else [other]
        clusters = self._list(CLUSTER_BACKEND)
        shared = [found for each in map(cluster_candidate, clusters) for found in [each.shared] if found is not None]
        there = (self._reader.get(path_of(BACKEND, *each)) for each in shared if each.namespace != namespace)
        backends += [each for each in there if each is not None]
        names = {found for each in map(candidate, backends) for found in [(each.namespace, each.revision)] if found[1]}
        revisions = [self._reader.get(path_of(CONTROLLER_REVISION, *each)) for each in sorted(names)]
        return PodFacts(
            namespace=namespace,
            name=name,
            pod=pod,
            events=[str(each.get("message")) for each in self._list(EVENT, namespace, fieldSelector=about)],
            labels=(own.get("metadata") or {}).get("labels") or {},
            annotations=(own.get("metadata") or {}).get("annotations") or {},
            backends=backends,
            clusters=clusters,
            revisions=[each for each in revisions if each is not None],
        )

    def _get(self, kind: Kind, name: str) -> Object | None:
        try:
            return self._reader.get(path_of(kind, None, name))
        except Fault as fault:
            self._unread.append(f"{kind.kind} {name}: {fault.reason}")
            return None

    def _list(self, kind: Kind, namespace: str | None = None, **parameters: str) -> list[dict[str, Any]]:
        try:
            return self._reader.list(kind, namespace, **parameters)
        except Fault as fault:
            if fault.reason != "absent":
                self._unread.append(f"{kind.plural}{f' of {namespace}' if namespace else ''}: {fault.reason}")
            return []

    def _definitions(self) -> dict[str, Object]:
        names = [f"{plural}.{naming.GROUP}" for plural in (naming.PLURAL, naming.CLUSTER_PLURAL)]
        return {name: found for name in names if (found := self._get(CRD, name)) is not None}

    def _pods(self) -> list[dict[str, Any]]:
        found = self._list(POD, labelSelector=f"{naming.LABEL_INJECT}=true,{naming.LABEL_COMPONENT}!=proxy")
        also = self._list(POD, labelSelector=f"{naming.LABEL_INJECTED},{naming.LABEL_INJECT}!=true")
        return [*found, *also]

    def _endpoints(self, configurations: Sequence[Object]) -> dict[tuple[str, str], int]:
        entries = [entry for each in configurations for entry in each.get("webhooks") or ()]
        services = [entry["clientConfig"]["service"] for entry in entries if entry["clientConfig"].get("service")]
        found: dict[tuple[str, str], int] = {}
        for namespace, name in {(each["namespace"], each["name"]) for each in services}:
            slices = self._list(ENDPOINT_SLICE, namespace, labelSelector=f"kubernetes.io/service-name={name}")
            each = [endpoint for part in slices for endpoint in part.get("endpoints") or ()]
            found[namespace, name] = sum(1 for one in each if (one.get("conditions") or {}).get("ready") is not False)
        return found

    def _trial(self, namespace: str) -> Trial | None:
        container = {"name": "check", "image": "mimic.invalid/check", "securityContext": RESTRICTED, "resources": SMALL}
        metadata = {"generateName": "mimic-check-", "labels": {naming.LABEL_INJECT: "true"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        try:
            status, found = self._reader.post(path_of(POD, namespace), pod, dryRun="All")
        except Fault as fault:
            self._unread.append(f"a trial pod in {namespace}: {fault.reason}")
            return None
        injected = naming.LABEL_INJECTED in ((found.get("metadata") or {}).get("labels") or {})
        return Trial(namespace, status, injected, str(found.get("message") or ""))

    def _denied(self, deployment: Object) -> list[tuple[str, str]]:
        """By SubjectAccessReviews for the process's account; in its own pod by SelfSubjectAccessReviews."""
        metadata, spec = deployment["metadata"], deployment["spec"]["template"]["spec"]
        role = metadata["labels"][naming.LABEL_COMPONENT]
        account = f"system:serviceaccount:{metadata['namespace']}:{spec.get('serviceAccountName') or 'default'}"
        env = {entry["name"]: entry.get("value") or "" for entry in spec["containers"][0].get("env") or ()}
        denied: list[tuple[str, str]] = []
        for namespace in [each for each in env.get("WATCH_NAMESPACES", "").split(",") if each] or [""]:
            for group, resource, verbs in (*PERMISSIONS[role], *(() if namespace else EVERYWHERE[role])):
                for verb in verbs:
                    name, _, sub = resource.partition("/")
                    wanted = {
                        "group": group,
                        "resource": name,
                        "subresource": sub,
                        "verb": verb,
                        "namespace": namespace,
                    }
                    allowed = self._allowed(account, wanted)
                    if allowed is None:
                        return []
                    if not allowed:
                        denied.append((role, f"{verb} {resource}{f' in {namespace}' if namespace else ''}"))
        return denied

    def _allowed(self, account: str, wanted: Mapping[str, str]) -> bool | None:
        """None where the API server does not answer it."""
        base = "/apis/authorization.k8s.io/v1"
        try:
            status, found = self._reader.post(
                f"{base}/subjectaccessreviews", _review("SubjectAccessReview", wanted, user=account)
            )
            if status == 403 and self._is(account):
                status, found = self._reader.post(
                    f"{base}/selfsubjectaccessreviews", _review("SelfSubjectAccessReview", wanted)
                )
        except Fault as fault:
            status, found = 0, {"message": fault.reason}
        if status != 201:
            self._unread.append(f"the permissions of {account}: {found.get('message') or status}")
            return None
        return bool((found.get("status") or {}).get("allowed"))

    def _is(self, account: str) -> bool:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        _, found = self._reader.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        return ((found.get("status") or {}).get("userInfo") or {}).get("username") == account


def _review(kind: str, wanted: Mapping[str, str], **who: str) -> Object:
    attributes = {key: value for key, value in wanted.items() if value}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {"resourceAttributes": attributes, **who}}

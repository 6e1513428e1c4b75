"""Asks proxies whether their Secret is there, which the operator itself does not read, for SecretResolved.

At most three pods are asked for each backend and minute. Of what a pod answers only words that a proxy would use get
into the condition: any user may label a pod.
"""

import asyncio
import heapq
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx2
import msgspec

from mimic_operator.reconcile.status import NOT_ASKED, Condition, Truth
from mimic_operator.reconcile.store import Entry, PodName, Store
from mimic_operator.resource.container import ADMIN_PORT_NAME
from mimic_operator.resource.naming import CONTAINER, selector_of
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import POD, Key

MOST_PODS = 3
"""So many are asked for one backend at a time, and one where it is known that the secret is there."""
TYPE = "SecretResolved"
NAME, FILE = re.compile("[A-Z_]{1,40}"), re.compile("/[A-Za-z0-9._/-]{1,300}")
PROBLEMS = {"missing": "SecretMissing", "empty": "SecretMissing", "unreadable": "SecretUnreadable"}
"""Words of a proxy, and the reasons of the condition."""


@dataclass(frozen=True, slots=True)
class AdminPort:
    """Where a pod's admin port is."""

    address: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/readyz"


class SecretProblem(NamedTuple):
    """A secret whose file a proxy cannot use. word: one of PROBLEMS."""

    name: str
    file: str
    word: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one proxy reports. problems: None where its version does not report them."""

    held: bool
    problems: tuple[SecretProblem, ...] | None = ()


def admin_port_of(pod: Mapping[str, Any]) -> AdminPort | None:
    """Of a running pod; None where there is no proxy to be asked. A node's own address is never asked."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    address = status.get("podIP")
    if status.get("phase") != "Running" or not address or address == status.get("hostIP"):
        return None
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    ports = (each.get("ports") or () for each in containers if each.get("name") == CONTAINER)
    numbers = (port["containerPort"] for some in ports for port in some if port.get("name") == ADMIN_PORT_NAME)
    port = next(numbers, None)
    return AdminPort(address, port) if port is not None else None


def chosen(pods: Mapping[PodName, bool], most: int, random: Sequence[float]) -> list[PodName]:
    """Names of the pods to ask. pods: by name, whether it has the present revision; those come first.

    random: numbers of [0, 1), one for each pod, so that it is not always the same ones.
    """
    ordered = sorted(zip(pods, random, strict=True), key=lambda pair: (not pods[pair[0]], pair[1]))
    return [name for name, _ in ordered[:most]]


def answer_of(document: object) -> Answer | None:
    """What the JSON of `/readyz` says; None where it is not that of a proxy."""
    if not isinstance(document, Mapping):
        return None
    conditions, secrets = document.get("conditions"), document.get("secrets")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, Mapping) and each.get("name") == "token" and isinstance(each.get("ok"), bool):
            return Answer(each["ok"], _problems(secrets) if isinstance(secrets, list) else None)
    return None


def _problems(secrets: Sequence[object]) -> tuple[SecretProblem, ...]:
    """Those that a proxy would report."""
    found = []
    for each in secrets:
        if isinstance(each, Mapping):
            name, file, word = (str(each.get(key)) for key in ("name", "file", "problem"))
            if word in PROBLEMS and NAME.fullmatch(name) and FILE.fullmatch(file):
                found.append(SecretProblem(name, file, word))
    return tuple(found)


def condition_of(answers: Iterable[Answer | None], secret: str) -> Condition:
    """answers: None for a pod that gave none. secret: the name of the backend's Secret, empty if it has none."""
    given = list(answers)
    reported = [answer for answer in given if answer is not None]
    problems = [problem for answer in reported for problem in answer.problems or ()]
    if problems:
        return _unresolved(min(problems), secret)
    if any(answer.held for answer in reported):
        return Condition("True", "TokenHeld")
    if any(answer.problems is not None for answer in reported):
        return Condition(
            "True", "SecretRead", "the secret is there; no token yet: the log of mimic-proxy in the pods says why"
        )
    if reported:
        return Condition("Unknown", "NotReported", "no token yet, and proxies of this version report no secrets")
    if given:
        return Condition(
            "Unknown", "Unreachable", "no proxy answers on its admin port: a NetworkPolicy may be in between"
        )
    return NOT_ASKED


def _unresolved(problem: SecretProblem, secret: str) -> Condition:
    key = problem.file.rpartition("/")[2]
    advice = f"; Secret {secret} needs a value under {key}" if secret else ""
    return Condition("False", PROBLEMS[problem.word], f"{problem.name}: {problem.file} is {problem.word}{advice}")


def condition_in(status: Mapping[str, Any]) -> Condition:
    """As the status has it from an earlier leader: a new one changes nothing before it has asked."""
    truths: dict[object, Truth] = {"True": "True", "False": "False"}
    for each in status.get("conditions") or ():
        if each.get("type") == TYPE and each.get("status") in truths:
            return Condition(truths[each["status"]], str(each.get("reason")), str(each.get("message") or ""))
    return NOT_ASKED


logger = logging.getLogger("mimic.secrets")

POLL_SECONDS = 1.0
MOST_BACKENDS = 10
"""So many in one poll; with more than 600 backends each of them is asked less often than once a minute."""
AGAIN_SECONDS = 60.0
START_SECONDS, LONGEST_START_SECONDS = 15.0, 600.0
"""Before pods that had no address are read again; doubled each time."""
READS, READS_PER_SECOND = 300, 0.25
"""Pods that are read for their address: so many at once, so many a second in the long run. A proxy whose address is
known costs the API server nothing."""
ANSWER_SECONDS = 3.0
LONGEST_ANSWER = 65_536


@dataclass(slots=True)
class Budget:
    """Of reads: a bucket that fills itself."""

    left: float = READS
    _at: float = float("-inf")

    def take(self, now: float) -> bool:
        """Whether one more may be made. now: monotonic seconds."""
        passed = min(now - self._at, READS / READS_PER_SECOND)
        self.left, self._at = min(float(READS), self.left + passed * READS_PER_SECOND), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class SecretChecks:
    """clock: monotonic seconds. random: [0, 1). changed: called with a backend whose condition is another one."""

    cluster: Cluster
    store: Store
    clock: Callable[[], float]
    random: Callable[[], float]
    changed: Callable[[Key], None]
    conditions: dict[str, Condition] = field(default_factory=dict)
    """By the backend's uid; of one that was not asked for yet there is none."""
    _due: dict[str, float] = field(default_factory=dict)
    _unknown: dict[str, int] = field(default_factory=dict)
    """How often in a row no address of a backend's proxies was known."""
    _known: dict[Key, dict[PodName, AdminPort]] = field(default_factory=dict)
    _reads: Budget = field(default_factory=Budget)

    def condition(self, entry: Entry) -> Condition:
        """The present one; before the first answer that of an earlier leader."""
        return self.conditions.get(entry.uid) or condition_in(entry.status)

    async def run(self) -> None:
        """Until cancelled."""
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "mimic-operator"}
        # Connections to pods are not kept: a minute later it is another pod.
        limits = httpx2.Limits(max_connections=MOST_BACKENDS * MOST_PODS, max_keepalive_connections=0)
        async with httpx2.AsyncClient(
            headers=headers, limits=limits, timeout=ANSWER_SECONDS, trust_env=False, follow_redirects=False
        ) as http:
            while True:
                await self.poll(http)
                await asyncio.sleep(POLL_SECONDS)

    async def poll(self, http: httpx2.AsyncClient) -> None:
        """Asks for the backends whose time has come, the longest overdue first."""
        now, there = self.clock(), {entry.uid for entry in self.store.entries.values()}
        self._due = {uid: at for uid, at in self._due.items() if uid in there}
        self.conditions = {uid: condition for uid, condition in self.conditions.items() if uid in there}
        self._unknown = {uid: count for uid, count in self._unknown.items() if uid in there}
        self._known = {key: known for key, known in self._known.items() if key in self.store.entries}
        due: list[tuple[float, Key]] = []
        for key, entry in self.store.entries.items():
            if entry.backend is None or self._due.get(entry.uid, now) > now:
                continue
            if entry.mode == "Deployment" or any(pod.injected for pod in self.store.pods_of(key)):
                due.append((self._due.get(entry.uid, float("-inf")), key))
            else:
                self._tell(key, entry, NOT_ASKED)
        async with asyncio.TaskGroup() as group:
            for _, key in heapq.nsmallest(MOST_BACKENDS, due):
                group.create_task(self._ask_for(key, self.store.entries[key], http))

    async def _ask_for(self, key: Key, entry: Entry, http: httpx2.AsyncClient) -> None:
        self._due[entry.uid] = self.clock() + AGAIN_SECONDS
        try:
            ports = await self._admin_ports(key, entry)
        except Fault as fault:
            logger.debug("Pods of %s could not be read: %s", key, fault, extra={"key": str(key)})
            return
        if not ports:
            if self._reads.left >= 1:  # they were read, and none has an address
                self._tell(key, entry, NOT_ASKED)
            self._unknown[entry.uid] = self._unknown.get(entry.uid, 0) + 1
            wait = START_SECONDS * 2 ** min(self._unknown[entry.uid] - 1, 10)
            self._due[entry.uid] = self.clock() + min(wait, LONGEST_START_SECONDS)
            return
        self._unknown.pop(entry.uid, None)
        answers = await asyncio.gather(*(ask(http, port) for port in ports.values()))
        for name, answer in zip(ports, answers, strict=True):
            if answer is None:  # it may have another address by now
                self._known.get(key, {}).pop(name, None)
        assert entry.backend is not None
        secret = entry.backend.auth.secret_ref
        self._tell(key, entry, condition_of(answers, secret.name if secret is not None else ""))

    def _tell(self, key: Key, entry: Entry, condition: Condition) -> None:
        before, self.conditions[entry.uid] = self.condition(entry), condition
        if before == condition:
            return
        if condition.status == "False":
            extra = {"key": str(key), "reason": condition.reason}
            logger.warning("The secret of %s: %s", key, condition.message, extra=extra)
        self.changed(key)

    async def _admin_ports(self, key: Key, entry: Entry) -> dict[PodName, AdminPort]:
        """Admin ports of some of the backend's proxies, as far as they are known. Raises Fault."""
        most = 1 if self.condition(entry).status == "True" else MOST_PODS
        known = self._known.setdefault(key, {})
        if entry.mode == "Deployment":
            if not known and self._reads.take(self.clock()):
                async for pod in self.cluster.list(POD, key.namespace, labels=selector_of(key.name), chunk=most):
                    self._learn(known, PodName(key.namespace, pod["metadata"]["name"]), pod)
                    if len(known) == most:
                        break
            return dict(list(known.items())[:most])
        target = entry.status.get("updateRevision")
        named = {name: pod.revision == target for name, pod in self.store.named_pods_of(key) if pod.injected}
        for gone in known.keys() - named.keys():
            del known[gone]
        found: dict[PodName, AdminPort] = {}
        for tried, name in enumerate(chosen(named, len(named), [self.random() for _ in named])):
            if name not in known and tried < most and self._reads.take(self.clock()):
                self._learn(known, name, await self.cluster.get(POD, *name))
            if name in known:
                found[name] = known[name]
            if len(found) == most:
                break
        return found

    def _learn(self, known: dict[PodName, AdminPort], name: PodName, pod: Mapping[str, Any] | None) -> None:
        if pod is not None and (place := admin_port_of(pod)) is not None:
            known[name] = place


async def ask(http: httpx2.AsyncClient, place: AdminPort) -> Answer | None:
    """None where no proxy answers there, in time and in its form."""
    content = b""
    try:
        async with asyncio.timeout(ANSWER_SECONDS), http.stream("GET", place.url) as response:
            async for part in response.aiter_raw():
                content += part
                if len(content) > LONGEST_ANSWER:
                    return None
        return answer_of(msgspec.json.decode(content))
    except (httpx2.HTTPError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
        logger.debug("No answer at %s: %s", place.url, type(error).__name__)
        return None

"""Reviews under load: quick enough, and none lost while the certificate is replaced."""

import math
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx2
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from fakes.control_plane import ControlPlane
from fakes.manifests import backend, pod
from fakes.webhooks import Webhook, created, registered

RATE = 50
SECONDS = 8
BOUND_SECONDS = 0.5
"""Ten times what is promised: the machine of a test may be busy."""
IN_TIME = 0.9
"""Of the calls; a pause of a busy machine for half a second hits 25 of 400."""


@dataclass
class Load:
    """Pods written at a steady rate, by dry run."""

    plane: ControlPlane
    namespace: str
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float) -> None:
        with self.plane.http() as client, ThreadPoolExecutor(16) as pool:
            begun = time.monotonic()
            for number in range(int(seconds * RATE)):
                time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
                pool.submit(self._write, client)

    def _write(self, client: httpx2.Client) -> None:
        begun = time.monotonic()
        answer = client.post(f"/api/v1/namespaces/{self.namespace}/pods", json=pod(), params={"dryRun": "All"})
        took = time.monotonic() - begun
        with self._lock:
            self.seconds.append(took)
            if answer.status_code != 201 or "mimic-proxy" not in answer.text:
                self.wrong.append(answer.text[:500])


@pytest.fixture
def load(control_plane: ControlPlane, admin: httpx2.Client, namespace: str, webhook: Webhook) -> Load:
    created(admin, backend(), namespace)
    return Load(control_plane, namespace)


def test_fifty_reviews_a_second_are_answered_in_time(load: Load, admin: httpx2.Client):
    """As the API server has measured its calls, TLS included."""
    before = calls(admin)
    load.run(SECONDS)
    took = {bound: count - before.get(bound, 0.0) for bound, count in calls(admin).items()}
    assert load.wrong == []
    whole = statistics.quantiles(load.seconds, n=100)
    print(f"calls within seconds: {took}; whole requests: p50 {whole[49] * 1000:.1f} ms, p99 {whole[98] * 1000:.1f} ms")
    assert took[math.inf] >= SECONDS * RATE
    assert took[BOUND_SECONDS] >= IN_TIME * took[math.inf]


def calls(admin: httpx2.Client) -> dict[float, float]:
    """How many calls of the webhook took at most so many seconds, since the API server's start."""
    families = text_string_to_metric_families(admin.get("/metrics").text)
    return {
        float(sample.labels["le"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "apiserver_admission_webhook_admission_duration_seconds_bucket"
        and sample.labels["name"] == "pods.mimic.dev"
        and sample.labels["rejected"] == "false"
    }


def test_a_process_that_is_told_to_end_answers_what_comes_until_it_has(load: Load, webhook: Webhook):
    running = threading.Thread(target=load.run, args=(2,))
    running.start()
    try:
        webhook.until(lambda: len(load.seconds) > RATE / 2)
        assert webhook.stop() == 0
    finally:
        running.join()
        webhook.start()
    assert load.wrong == []
    assert len(load.seconds) == 2 * RATE


def test_no_answer_is_lost_while_the_certificate_is_replaced(load: Load, admin: httpx2.Client, webhook: Webhook):
    """Leaves of the same authority, then one of the next: the bundle holds both, as the reconciler writes it."""
    successor = trustme.CA(key_type=trustme.KeyType.ECDSA)
    registered(admin, webhook, webhook.authority.cert_pem.bytes() + successor.cert_pem.bytes())
    reloads = "mimic_operator_webhook_certificate_reloads_total", "ok"
    running = threading.Thread(target=load.run, args=(SECONDS,))
    running.start()
    try:
        for authority in (None, successor):
            before = webhook.metrics()[reloads]
            webhook.renew(authority)
            webhook.until(lambda before=before: webhook.metrics()[reloads] == before + 1)
    finally:
        running.join()
        webhook.renew()
    assert load.wrong == []
    assert len(load.seconds) == SECONDS * RATE

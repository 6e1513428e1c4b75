"""Namespaces of tests."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.applications import scripts
from e2e.cluster import Cluster, run


@contextmanager
def fresh() -> Iterator[Cluster]:
    """One that enforces the restricted standard, with the applications' scripts. It is deleted, and not waited for."""
    made = Cluster(f"e2e-{uuid.uuid4().hex[:8]}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace, "labels": labels}}, scripts()
    )
    yield made
    run("kubectl", "delete", "namespace", made.namespace, "--wait=false", "--ignore-not-found")

"""Which of several operators looks after a backend."""

from typing import Any

import pytest

from mimic_operator.reconcile.tenure import Identity, Tenure, identity_in
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Kind

FORBIDDEN = Fault("forbidden", "get: 403")
WIDE = Identity(clusterwide=True, namespace="mimic-system", lease="mimic-operator")
NARROW = Identity(clusterwide=False, namespace="team-a", lease="mimic-operator")


class Server:
    """Answers with what it was given; a Fault is raised."""

    def __init__(self, found: Any = None) -> None:
        self.found = found
        self.now = 1000.0

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Any:
        if isinstance(self.found, Fault):
            raise self.found
        return self.found

    def tenure(self, own: Identity) -> Tenure:
        cluster: Any = self
        return Tenure(cluster, own, lambda: self.now, lambda: self.now)


def lease(renewed: str) -> dict[str, Any]:
    return {"spec": {"renewTime": renewed, "leaseDurationSeconds": 15}}


ALIVE, DEAD = lease("1970-01-01T00:16:30Z"), lease("1970-01-01T00:10:00Z")


@pytest.mark.parametrize(
    ("own", "named", "found", "elsewhere"),
    [
        (WIDE, "", None, None),
        (WIDE, "nonsense", ALIVE, None),
        (WIDE, str(WIDE), ALIVE, None),
        (WIDE, str(NARROW), ALIVE, NARROW),
        (WIDE, str(NARROW), FORBIDDEN, NARROW),
        (WIDE, str(NARROW), DEAD, None),
        (WIDE, str(NARROW), None, None),
        (NARROW, str(WIDE), ALIVE, None),
        (WIDE, "namespaces:mimic-system/mimic-operator", ALIVE, None),
    ],
)
async def test_of_two_operators_that_live_one_has_a_backend(
    own: Identity, named: str, found: Any, elsewhere: Identity | None
):
    assert await Server(found).tenure(own).elsewhere(named) == elsewhere


@pytest.mark.parametrize("identity", [WIDE, NARROW])
def test_an_identity_is_read_as_it_was_written(identity: Identity):
    assert identity_in(str(identity)) == identity
    assert (NARROW < WIDE, identity_in("cluster:a"), identity_in(None)) == (True, None, None)


async def test_an_api_server_that_does_not_answer_decides_nothing():
    for fault in (Fault("unreachable", "get"), Fault("throttled", "get")):
        with pytest.raises(Fault):
            await Server(fault).tenure(WIDE).elsewhere(str(NARROW))

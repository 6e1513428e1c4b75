"""Which backend a workload belongs to."""

from dataclasses import replace

import pytest

from mimic_operator.reconcile.workload import Counts, Fields, Ref, Workload, owner_of
from mimic_operator.resource.selection import Candidate
from mimic_operator.resource.spec import LabelSelector

ALL = LabelSelector(match_labels={"ai": "yes"})


def backend(name: str, created: str, selector: LabelSelector | None = ALL, problem: str = "") -> Candidate:
    return Candidate(
        namespace="team", name=name, mode="Sidecar", default=False, created=created, selector=selector, problem=problem
    )


OLDER = backend("older", "2026-01-01T00:00:00Z")
YOUNGER = backend("a-younger", "2026-02-01T00:00:00Z")
ELSE = backend("else", "2025-01-01T00:00:00Z", LabelSelector(match_labels={"ai": "no"}))
WEB = Workload(
    ref=Ref("team", "Deployment", "web"),
    uid="u",
    version="1",
    labels={"ai": "yes"},
    fields=Fields(),
    applied=False,
    controlled=False,
    observed=True,
    counts=Counts(),
)


def written_by(name: str) -> Workload:
    fields = Fields(inject="true", managed=True, backend=name, revision="r")
    return replace(WEB, fields=fields, applied=True)


@pytest.mark.parametrize(
    ("workload", "candidates", "owner"),
    [
        (WEB, [YOUNGER, OLDER, ELSE], "older"),
        (WEB, [YOUNGER], "a-younger"),
        (WEB, [ELSE], None),
        (WEB, [replace(OLDER, name="b"), replace(OLDER, name="a")], "a"),
        (replace(WEB, controlled=True), [OLDER], None),
        (replace(WEB, chosen="a-younger"), [OLDER, YOUNGER], "a-younger"),
        (replace(WEB, chosen="else"), [OLDER, ELSE], None),
        (replace(WEB, fields=Fields(backend="mine")), [OLDER], None),
        (written_by("a-younger"), [OLDER, YOUNGER], "a-younger"),
        (written_by("gone"), [OLDER], "older"),
        (written_by("gone"), [ELSE], None),
        (written_by("broken"), [OLDER, backend("broken", "2026-03-01T00:00:00Z", None, "spec")], "broken"),
    ],
)
def test_has_one_owner(workload: Workload, candidates: list[Candidate], owner: str | None):
    assert owner_of(workload, candidates) == owner

"""Which revision is wanted after an upgrade of the operator, whose proxies have another image from then on."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.bad_backends import good
from mimic_operator.reconcile.plan import Target, target_of
from mimic_operator.reconcile.state import Memory, State
from mimic_operator.reconcile.status import NOT_ASKED
from mimic_operator.reconcile.store import Entry
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import StoredRevision, revision_of
from mimic_operator.resource.selection import Candidate
from mimic_operator.runtime.kinds import Key

OLD, NEW = ProxyDefaults(image="mimic:0.1.0"), ProxyDefaults(image="mimic:0.2.0")
SELECTED = {"workloads": {"selector": {"matchLabels": {"team": "search"}}}}


def backend(**spec: Any) -> Backend:
    manifest = good("sidecar")
    manifest["spec"] |= spec
    return parse(manifest, strict=True)


def target(now: Backend, stored: StoredRevision | None, *, unchanged: bool, on_upgrade: bool = False) -> Target:
    """What the operator of NEW makes of a revision that the operator of OLD has written into the status."""
    name = stored.revision.name if stored is not None else "mimic-corp-older"
    status = {"updateRevision": name, "observedGeneration": now.generation - (0 if unchanged else 1)}
    entry = Entry(
        "u",
        "1",
        now.generation,
        now.mode,
        status,
        now,
        (),
        Candidate(namespace="team", name="corp", mode=now.mode, default=False),
    )
    state = State(
        key=Key("team", "corp"),
        now=0.0,
        wall=0.0,
        memory=Memory(),
        defaults=NEW,
        on_upgrade=on_upgrade,
        entry=entry,
        secret=NOT_ASKED,
        newest=revision_of(now, NEW),
        stored={name: stored},
    )
    return target_of(state, now)


def image_after(before: Backend, now: Backend, *, on_upgrade: bool = False) -> str:
    """The image that new pods get, once the operator of OLD is one of NEW. before: as OLD saw the backend last."""
    stored = StoredRevision(revision_of(before, OLD), before.spec, OLD)
    found = target(now, stored, unchanged=now == before, on_upgrade=on_upgrade)
    image: str = found.revision.container["image"]
    return image


def test_selected_workloads_are_not_restarted_for_it():
    selected = backend(injection=SELECTED)
    assert image_after(selected, selected) == OLD.image


@pytest.mark.parametrize("injection", [SELECTED, {}], ids=["selected", "labelled"])
def test_they_are_where_the_operator_was_told_so(injection: dict[str, Any]):
    assert image_after(backend(injection=injection), backend(injection=injection), on_upgrade=True) == NEW.image


def test_a_change_that_restarts_them_anyhow_brings_it():
    selected = backend(injection=SELECTED)
    assert image_after(selected, backend(injection={**SELECTED, "readiness": "Token"})) == NEW.image


def test_pods_that_carry_the_label_themselves_get_it_when_they_are_made_anew():
    assert image_after(backend(), backend()) == NEW.image


def image_of_another_container(now: Backend, made_of: Backend | None, *, unchanged: bool) -> str:
    """The image that new pods get, where the operator of OLD made another container of the spec than this one does.

    made_of: what its ControllerRevision holds of the spec; None as in format 1.
    """
    made = replace(revision_of(backend(injection=SELECTED), OLD), name="mimic-corp-older", hash="older")
    stored = StoredRevision(made, made_of.spec if made_of is not None else None, OLD)
    found = target(now, stored, unchanged=unchanged)
    assert bool(found.waiting) is (found.name == made.name)
    image: str = found.revision.container["image"]
    return image


def test_a_container_that_this_operator_would_make_otherwise_is_kept_while_changes_are_hot():
    selected = backend(injection=SELECTED)
    moved = backend(injection=SELECTED, chat={"url": "https://moved.example/v1"})
    for now, unchanged in ((selected, True), (moved, False)):
        assert image_of_another_container(now, selected, unchanged=unchanged) == OLD.image
    restart = backend(injection={**SELECTED, "readiness": "Token"})
    assert image_of_another_container(restart, selected, unchanged=False) == NEW.image


def test_without_the_spec_that_it_was_made_of_it_is_kept_until_the_next_change():
    selected = backend(injection=SELECTED)
    assert image_of_another_container(selected, None, unchanged=True) == OLD.image
    assert image_of_another_container(selected, None, unchanged=False) == NEW.image


def test_a_revision_that_cannot_be_read_is_not_kept():
    found = target(backend(injection=SELECTED), None, unchanged=True)
    assert (found.name, found.waiting) == (revision_of(backend(), NEW).name, "")

"""Which revision is wanted after an upgrade of the operator, whose proxies have another image from then on."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from fakes.bad_backends import good
from mimic_operator.reconcile.plan import ANNOTATION_DEFAULTS, Target, as_kept, target_of
from mimic_operator.reconcile.store import ChildSeen
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Kept, revision_of

OLD, NEW = ProxyDefaults(image="mimic:0.1.0"), ProxyDefaults(image="mimic:0.2.0")
SELECTED = {"workloads": {"selector": {"matchLabels": {"team": "search"}}}}


def backend(**spec: Any) -> Backend:
    manifest = good("sidecar")
    manifest["spec"] |= spec
    return parse(manifest, strict=True)


def image_after(before: Backend, now: Backend, *, on_upgrade: bool = False) -> str:
    """The image that new pods get, once the operator of OLD is one of NEW. before: as OLD saw the backend last."""
    name = revision_of(before, OLD).name
    annotations = {ANNOTATION_DEFAULTS: json.dumps(asdict(OLD))}
    stored = {name: ChildSeen("1", "uid", "2026-01-01T00:00:00Z", None, annotations, True)}
    status = {"updateRevision": name, "observedGeneration": now.generation if now == before else now.generation - 1}
    target = target_of(now, NEW, status=status, stored=stored, on_upgrade=on_upgrade)
    if target.made is None:
        kept = Kept(revision_of(before, OLD), before.spec, OLD)
        target = as_kept(target, kept, now, NEW, unchanged=now == before)
    assert target.made is not None
    image: str = target.made.container["image"]
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
    kept = Kept(made, made_of.spec if made_of is not None else None, OLD)
    target = as_kept(Target(made.name, None, OLD, "waits"), kept, now, NEW, unchanged=unchanged)
    assert target.made is not None
    assert target.kept is (target.name == made.name)
    image: str = target.made.container["image"]
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
    target = as_kept(Target("mimic-corp-older", None, OLD), None, backend(), NEW, unchanged=True)
    assert (target.name, target.kept) == (revision_of(backend(), NEW).name, False)

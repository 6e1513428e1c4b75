"""Which workloads are written next, as tables and properties: no cluster."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_operator.reconcile.rollout import Before, Progress, Rollout, Situation, decide, fields_for, written
from mimic_operator.reconcile.workload import Counts, Fields, Ref, Workload, Written, written_in

OLD, NEW = "mimic-corp-old", "mimic-corp-new"
DONE = Counts(desired=2, total=2, updated=2, ready=2, available=2)
ROLLING = Counts(desired=2, total=3, updated=1, ready=2, available=2)


def workload(name: str, revision: str | None = OLD, **changed: object) -> Workload:
    """A Deployment that has settled on a revision; None bears no fields."""
    fields = fields_for("corp", revision) if revision is not None else Fields()
    found = Workload(
        ref=Ref("team", "Deployment", name),
        uid=name,
        version="1",
        labels={},
        fields=fields,
        applied=revision is not None,
        controlled=False,
        observed=True,
        counts=DONE,
    )
    return replace(found, **changed)


def situation(*owned: Workload, **changed: object) -> Situation:
    carrying = {each.uid: 2 for each in owned if each.fields.revision == NEW}
    given: dict[str, object] = {"owned": owned, "carrying": carrying, "revised": 1000.0, "free": 5, **changed}
    return Situation(now=100.0, backend="corp", target=NEW, **given)


def moving(name: str, since: float = 100.0, **changed: object) -> tuple[Workload, dict[str, Progress]]:
    """One that was written at `since` and has not settled."""
    found = workload(name, NEW, counts=ROLLING, **changed)
    return found, {name: Progress(target=NEW, since=since, mark=found.mark)}


def names(found: Rollout) -> list[str]:
    return [write.workload.ref.name for write in found.writes]


def test_writes_one_workload_and_leaves_the_others_until_it_has_settled():
    first = decide(situation(workload("b"), workload("a")))
    assert (names(first), first.phase) == (["a"], "Progressing")
    going, progress = moving("a")
    second = decide(situation(going, workload("b"), progress=progress))
    assert (names(second), [each.ref.name for each in second.moving]) == ([], ["a"])
    third = decide(situation(workload("a", NEW), workload("b"), progress=progress))
    assert (names(third), third.done, third.total) == (["b"], 1, 2)


def test_a_workload_that_nobody_has_written_gets_label_mark_backend_and_revision():
    (write,) = decide(situation(workload("a", None))).writes
    assert write.fields == Fields(inject="true", managed=True, backend="corp", revision=NEW)


def test_has_not_settled_before_its_pods_carry_the_revision():
    settled, going = workload("a", NEW), {"a": Progress(target=NEW, since=99.0, mark=workload("a", NEW).mark)}
    assert decide(situation(settled, carrying={"a": 1}, progress=going)).phase == "Progressing"
    assert decide(situation(settled, carrying={"a": 2}, progress=going)).phase == "Complete"


@pytest.mark.parametrize(
    ("changed", "since", "reason", "said"),
    [
        ({}, 100.0 - 600, "ProgressTimeout", "Deployment/a does not settle: 2 of 2 pods are available, 1 are updated"),
        ({"failure": "exceeded quota"}, 100.0, "ReplicaFailure", "Deployment/a cannot make its pods: exceeded quota"),
    ],
)
def test_halts_with_the_name_and_touches_nothing_else(changed: dict[str, str], since: float, reason: str, said: str):
    going, progress = moving("a", since, **changed)
    found = decide(situation(going, workload("b"), progress=progress))
    assert (found.phase, names(found), found.ended) == ("Halted", [], False)
    assert [(stuck.reason, stuck.sentence) for stuck in found.stuck] == [(reason, said)]


def test_a_halted_rollout_begins_nothing_although_two_may_move():
    going, progress = moving("a", 100.0 - 600)
    found = decide(situation(going, workload("b"), workload("c"), max_unavailable=2, progress=progress))
    assert (found.phase, names(found), found.waits) == ("Halted", [], False)


def test_what_was_not_settled_before_does_not_begin_beside_what_was_although_two_may_move():
    shaky = workload("a", counts=replace(DONE, available=1))
    found = decide(situation(shaky, workload("b"), max_unavailable=2))
    assert names(found) == ["b"]
    going, progress = moving("b")
    assert names(decide(situation(shaky, going, max_unavailable=2, progress=progress))) == []


def test_a_halt_says_what_holds_a_pod_up():
    going, progress = moving("a", 100.0 - 600)
    hindrances = {going.ref: "container mimic-proxy waits for its image mimic:2 (ErrImagePull)"}
    (stuck,) = decide(situation(going, progress=progress, hindrances=hindrances)).stuck
    assert stuck.sentence == (
        "Deployment/a does not settle: 2 of 2 pods are available, 1 are updated; "
        "container mimic-proxy waits for its image mimic:2 (ErrImagePull)"
    )


def test_progress_starts_the_time_anew():
    going, progress = moving("a", 100.0 - 600)
    progress["a"] = replace(progress["a"], mark=(0,))
    found = decide(situation(going, progress=progress))
    assert (found.phase, found.progress["a"].since, found.again) == ("Progressing", 100.0, 600.0)


def test_a_fix_goes_to_the_workload_that_halted_first():
    broken = workload("z", "mimic-corp-broken", counts=ROLLING)
    progress = Progress(target="mimic-corp-broken", since=0.0, mark=broken.mark)
    assert names(decide(situation(workload("a"), broken, progress={"z": progress}))) == ["z"]
    halted = Before(phase="Halted", target="mimic-corp-broken", current=("Deployment/z",))
    assert names(decide(situation(workload("a"), broken, before=halted))) == ["z"]


def test_a_restarted_operator_knows_that_a_rollout_was_halted():
    going, _ = moving("a")
    halted = Before(phase="Halted", target=NEW, current=("Deployment/a",))
    assert decide(situation(going, workload("b"), before=halted)).phase == "Halted"


def test_a_restarted_operator_takes_a_rollout_that_had_ended_as_ended():
    crashing = workload("a", NEW, counts=replace(DONE, available=1))
    ended = Before(phase="Complete", target=NEW)
    assert decide(situation(crashing, before=ended)).phase == "Complete"


def test_what_was_not_settled_before_comes_last():
    shaky = workload("a", counts=replace(DONE, available=1))
    found = decide(situation(shaky, workload("b")))
    assert (names(found), [each.ref.name for each in found.unsteady]) == (["b"], ["a"])
    assert names(decide(situation(shaky, workload("b", NEW)))) == ["a"]


@pytest.mark.parametrize("inert", ["Paused", "OnDelete", "Zero", "CronJob"])
def test_where_a_template_restarts_nothing_it_is_written_at_once(inert: str):
    going, progress = moving("m", 100.0 - 600)
    idle = workload("idle", inert=inert)
    assert names(decide(situation(going, idle, progress=progress))) == ["idle"]
    found = decide(situation(workload("idle", NEW, inert=inert, counts=ROLLING)))
    assert (found.phase, found.done) == ("Complete", 1)


def test_the_room_of_all_backends_is_not_exceeded():
    owned = [workload(name) for name in "abcd"]
    found = decide(situation(*owned, max_unavailable=3, free=2))
    assert (names(found), found.waits) == (["a", "b"], True)
    assert not decide(situation(*owned, max_unavailable=2, free=2)).waits


def test_manual_waits_until_its_user_restarts_the_workload():
    before = decide(situation(workload("a", restarted_at="1970-01-01T00:16:39Z"), policy="Manual"))
    assert (before.phase, names(before), before.ended) == ("Manual", [], False)
    assert names(decide(situation(workload("a", restarted_at="1970-01-01T00:16:40Z"), policy="Manual"))) == ["a"]


def test_a_suspended_backend_writes_nothing():
    found = decide(situation(workload("a"), leaving=[workload("b")], suspended=True))
    assert (found.phase, found.writes) == ("Suspended", ())


def test_a_label_that_says_no_is_left_alone():
    no = workload("a", None, fields=Fields(inject="false"))
    found = decide(situation(no))
    assert (found.opted_out, found.writes, found.phase) == ((no,), (), "Idle")


def test_fault_09_each_loss_doubles_the_wait_before_the_fields_are_written_again():
    """Some tool replaces the template every ten minutes: the workload is not restarted every ten minutes for ever."""
    now, progress, restarts, waits = 0.0, {}, [], []
    bare = workload("a", None)
    while now < 86_400.0:
        found = decide(replace(situation(bare, progress=progress), now=now))
        if found.contended:
            assert (found.writes, found.again) == ((), waits.append(found.progress["a"].wait_until - now) or waits[-1])
            now += waits[-1]
            progress = found.progress
            continue
        (write,) = found.writes
        restarts.append(now)
        progress = {"a": written(write, now, workload("a", NEW))}
        now += 600.0
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0, 15_360.0, 30_720.0, 61_440.0]
    assert len(restarts) == 13


def lost(losses: int, at: float = 1000.0, revision: str = NEW) -> Workload:
    return workload("a", None, written=Written(revision, losses, at))


def test_fault_09_a_new_leader_knows_the_losses_from_the_workloads_annotation():
    assert decide(situation(lost(2), wall=1100.0)).contended == (lost(2),)
    (write,) = decide(situation(lost(0), wall=1100.0)).writes
    assert write.losses == 1
    assert names(decide(situation(lost(2, revision=OLD), wall=1100.0))) == ["a"]


def test_fields_that_stood_for_a_day_are_written_at_once():
    (write,) = decide(situation(lost(9), wall=1000.0 + 86_401)).writes
    assert write.losses == 1


def test_losses_are_remembered_while_the_fields_stand():
    inert = workload("a", NEW, written=Written(NEW, 4, 1000.0))
    first = decide(situation(inert, wall=1100.0))
    assert first.progress["a"].losses == 4
    assert decide(situation(lost(4), wall=1200.0, progress=first.progress)).progress["a"].losses == 5


def test_a_written_note_is_read_as_it_was_written():
    note = Written("mimic-corp-1", 3, 1_767_225_600.0)
    assert written_in(str(note)) == note
    assert (written_in(""), written_in("a b c"), written_in("a -1 2026-01-01T00:00:00Z")) == (None, None, None)


def test_what_cannot_be_written_is_told_and_holds_nobody_up():
    refused = {"a": "a policy says no", "c": "a policy says no"}
    found = decide(situation(workload("a"), workload("b"), leaving=[workload("c")], refused=refused))
    assert (names(found), found.total) == (["b"], 1)
    assert [(each.workload.ref.name, each.sentence) for each in found.refused] == list(refused.items())
    assert decide(situation(workload("a", NEW), refused=refused)).refused == ()


def test_a_new_target_is_no_loss():
    (write,) = decide(situation(workload("a"), progress={"a": Progress(target=OLD, since=0.0, mark=())})).writes
    assert (write.losses, written(write, 100.0, workload("a", NEW)).losses) == (0, 0)


def test_what_is_deselected_is_released_in_turn():
    found = decide(situation(leaving=[workload("a"), workload("b")]))
    assert [(write.workload.ref.name, write.fields) for write in found.writes] == [("a", None)]
    released = workload("a", None, counts=ROLLING)
    progress = {"a": Progress(target=None, since=100.0, mark=released.mark)}
    assert names(decide(situation(leaving=[released, workload("b")], progress=progress))) == []
    released = replace(released, counts=DONE)
    assert names(decide(situation(leaving=[released, workload("b")], progress=progress))) == ["b"]


WORKLOADS = st.lists(
    st.builds(
        workload,
        st.sampled_from("abcdefgh"),
        st.sampled_from([None, OLD, NEW]),
        counts=st.sampled_from([DONE, ROLLING]),
        inert=st.sampled_from([None, None, "Zero", "Partitioned"]),
        failure=st.sampled_from(["", "", "", "refused"]),
    ),
    unique_by=lambda each: each.uid,
    max_size=8,
)


@given(owned=WORKLOADS, free=st.integers(0, 3), most=st.integers(1, 3))
def test_never_begins_more_restarts_than_there_is_room_for(owned: list[Workload], free: int, most: int):
    found = decide(situation(*owned, free=free, max_unavailable=most))
    restarts = [write for write in found.writes if write.workload.inert in (None, "Partitioned")]
    assert len(restarts) <= free
    assert not restarts or len(restarts) + len(found.moving) <= most
    assert not (found.stuck and restarts)


@given(owned=WORKLOADS)
def test_writes_nothing_that_stands_there_already_and_ends(owned: list[Workload]):
    """Each write settles at once: after as many rounds as there are workloads nothing is left to do."""
    world = {each.uid: replace(each, failure="", counts=DONE) for each in owned}
    progress: dict[str, Progress] = {}
    for _ in range(len(owned) + 1):
        now = situation(*world.values(), progress=progress)
        found = decide(now)
        progress = dict(found.progress)
        for write in found.writes:
            assert write.workload.fields != write.fields
            assert write.fields is not None
            world[write.workload.uid] = replace(write.workload, fields=write.fields, applied=True)
    assert decide(situation(*world.values(), progress=progress)).ended

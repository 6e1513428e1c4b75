"""Which workloads are written next, and whether a rollout goes on, halts or has ended. Pure.

A workload restarts when its pod template changes, so what is written to it is decided here, one backend at a time:

1. Every selected workload is to carry the target revision in its template; one that does not is a candidate.
2. A candidate is written when there is room: at most `max_unavailable` of a backend's workloads are moving, and no more
   than `free` are begun, whatever the other backends do meanwhile.
3. A moving workload that makes no progress for `progress_timeout`, or whose pods cannot be made, halts the rollout:
   nothing else is begun until it has settled or there is another target.
4. Workloads on which a written template restarts nothing (paused, OnDelete, ...) neither block nor halt.
5. A workload that cannot be written (a policy refuses it, or it was invalid before) is passed over and reported.
6. What is deselected is released in the same way: the operator's fields are taken off, one workload after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mimic_operator.reconcile.workload import Fields, Ref, Workload, seconds_of

Phase = Literal["Idle", "Progressing", "Halted", "Manual", "Suspended", "Complete"]
Policy = Literal["Automatic", "Manual"]
CONTENDED_LOSSES = 3
"""So many losses of the operator's fields mean that another writer takes them off each time."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60.0, 86_400.0
"""Before the fields are written again: doubled with each loss, since each write restarts the workload."""
FORGET_SECONDS = 86_400.0
"""Fields that stood for so long were not taken off by what took them off before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is remembered of a workload between two passes."""

    target: str | None
    """The revision that was written last; None: it was released."""
    since: float
    """When it last made progress."""
    mark: tuple[int, ...]
    settled: bool = False
    losses: int = 0
    """How often what was written has been taken off."""
    wait_until: float = 0.0
    """Before which it is not written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the resource's status says of the rollout: all that is left after a restart of the operator."""

    phase: str = ""
    target: str = ""
    current: tuple[str, ...] = ()
    """KIND/NAME of those that were moving."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a rollout depends on. now: monotonic seconds; wall: Unix time.

    carrying: pods with the target's sidecar, by workload uid.
    """

    now: float
    wall: float = 0.0
    backend: str
    target: str
    revised: float
    """Unix time since when the target is wanted."""
    policy: Policy = "Automatic"
    suspended: bool = False
    max_unavailable: int = 1
    progress_timeout: float = 600.0
    free: int = 1
    owned: Sequence[Workload] = ()
    leaving: Sequence[Workload] = ()
    """Workloads that bear the backend's fields, or did, and shall not any more."""
    carrying: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    hindrances: Mapping[Ref, str] = field(default_factory=dict)
    """Why a pod of a workload that does not settle is not available."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Workloads whose last write was refused, by uid, with what was said."""
    before: Before = Before()


@dataclass(frozen=True, slots=True)
class Write:
    """Apply these fields to a workload's template; None takes all of the operator's off."""

    workload: Workload
    fields: Fields | None
    losses: int = 0
    """How often they were taken off before."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a rollout halts."""

    workload: Workload
    reason: Literal["ProgressTimeout", "ReplicaFailure"]
    sentence: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What cannot be written."""

    workload: Workload
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    phase: Phase
    writes: tuple[Write, ...]
    progress: Mapping[str, Progress]
    moving: tuple[Workload, ...]
    candidates: tuple[Workload, ...]
    pending: tuple[Workload, ...]
    stuck: tuple[Stuck, ...]
    contended: tuple[Workload, ...]
    refused: tuple[Refused, ...]
    opted_out: tuple[Workload, ...]
    unfit: tuple[Workload, ...]
    unsteady: tuple[Workload, ...]
    """Candidates that were not settled before anything was written to them; they come last."""
    done: int
    total: int
    waits: bool
    """Whether more would be written now if `free` were larger."""
    again: float | None
    """Seconds after which to plan again even if nothing happens."""

    @property
    def begun(self) -> tuple[Workload, ...]:
        """What restarts once the plan is performed."""
        return (*self.moving, *(write.workload for write in self.writes if write.workload.inert is None))

    @property
    def ended(self) -> bool:
        return self.phase in ("Idle", "Complete")


def fields_for(backend: str, revision: str) -> Fields:
    """What the template of a selected workload carries."""
    return Fields(inject="true", managed=True, backend=backend, revision=revision)


def decide(situation: Situation) -> Rollout:
    """What to do now. Writes are in the order in which they are to be made; each begins at most one restart."""
    sorted_out = _sort(situation)
    judged = (_stuck(workload, situation, sorted_out.progress) for workload in sorted_out.moving)
    stuck = tuple(found for found in judged if found is not None)
    writes, waits = ((), False) if situation.suspended else _writes(situation, sorted_out, halted=bool(stuck))
    pending = tuple(sorted_out.pending)
    owned = {workload.uid for workload in situation.owned}
    usable = [*sorted_out.settled, *pending, *sorted_out.moving, *sorted_out.candidates]
    usable = [workload for workload in usable if workload.uid in owned]
    return Rollout(
        phase=_phase(situation, sorted_out, halted=bool(stuck), selected=bool(usable)),
        writes=writes,
        progress=sorted_out.progress,
        moving=tuple(sorted_out.moving),
        candidates=tuple(sorted_out.candidates),
        pending=pending,
        stuck=stuck,
        contended=tuple(sorted_out.contended),
        refused=tuple(Refused(workload, situation.refused[workload.uid]) for workload in sorted_out.refused),
        opted_out=tuple(sorted_out.opted_out),
        unfit=tuple(sorted_out.unfit),
        unsteady=tuple(workload for workload in sorted_out.candidates if _unsteady(workload, situation)),
        done=sum(1 for workload in (*sorted_out.settled, *pending) if workload.uid in owned),
        total=len(usable),
        waits=waits,
        again=_again(situation, sorted_out),
    )


@dataclass(slots=True)
class _Sorted:
    progress: dict[str, Progress] = field(default_factory=dict)
    settled: list[Workload] = field(default_factory=list)
    moving: list[Workload] = field(default_factory=list)
    pending: list[Workload] = field(default_factory=list)
    candidates: list[Workload] = field(default_factory=list)
    releases: list[Workload] = field(default_factory=list)
    contended: list[Workload] = field(default_factory=list)
    refused: list[Workload] = field(default_factory=list)
    opted_out: list[Workload] = field(default_factory=list)
    unfit: list[Workload] = field(default_factory=list)


def _sort(situation: Situation) -> _Sorted:
    found = _Sorted()
    for workload in sorted(situation.owned, key=lambda entry: entry.ref):
        _sort_owned(workload, situation, found)
    for workload in sorted(situation.leaving, key=lambda entry: entry.ref):
        progress = situation.progress.get(workload.uid)
        if workload.applied:
            (found.refused if workload.uid in situation.refused else found.releases).append(workload)
        elif progress is not None and progress.target is None and not workload.rolled and workload.inert is None:
            found.moving.append(workload)
            found.progress[workload.uid] = _progressed(progress, workload, situation.now)
    return found


def _sort_owned(workload: Workload, situation: Situation, found: _Sorted) -> None:
    progress = _after_loss(workload, situation)
    if workload.unfit and not workload.applied:
        found.unfit.append(workload)
    elif workload.fields.inject not in (None, "true"):
        found.opted_out.append(workload)
    elif progress is not None and progress.target == "" and progress.wait_until > situation.now:
        found.contended.append(workload)
    elif workload.fields != fields_for(situation.backend, situation.target):
        (found.refused if workload.uid in situation.refused else found.candidates).append(workload)
    elif workload.inert is not None:
        found.pending.append(workload)
    else:
        progress = _followed(workload, progress, situation)
        (found.settled if progress.settled else found.moving).append(workload)
    if progress is not None:
        found.progress[workload.uid] = progress


def _after_loss(workload: Workload, situation: Situation) -> Progress | None:
    """The progress, with one loss more when the fields that were written are not there any more.

    A new leader reads from the workload's own annotation what was written, and how often it was lost before.
    """
    progress, note = situation.progress.get(workload.uid), workload.written
    if note is not None and note.revision != situation.target:
        note = None
    if progress is None and note is not None:
        progress = Progress(target=situation.target, since=situation.now, mark=workload.mark, losses=note.losses)
        if workload.fields == fields_for(situation.backend, situation.target):
            return None
    if progress is None or progress.target != situation.target:
        return progress
    if workload.fields == fields_for(situation.backend, situation.target):
        return progress
    old = note is not None and situation.wall - note.at > FORGET_SECONDS
    losses = 1 if old else progress.losses + 1
    return replace(progress, target="", settled=False, losses=losses, wait_until=situation.now + wait_after(losses))


def wait_after(losses: int) -> float:
    """Seconds before fields that were taken off so often are written again."""
    if losses < CONTENDED_LOSSES:
        return 0.0
    wait: float = FIRST_WAIT_SECONDS * 2 ** min(losses - CONTENDED_LOSSES, 30)
    return min(wait, LONGEST_WAIT_SECONDS)


def _losses(workload: Workload, progress: Progress | None) -> int:
    if progress is not None:
        return progress.losses
    return workload.written.losses if workload.written is not None else 0


def _followed(workload: Workload, progress: Progress | None, situation: Situation) -> Progress:
    """The progress of a workload that carries the target, after this pass."""
    settled = workload.rolled and situation.carrying.get(workload.uid, 0) >= workload.counts.desired
    if progress is None or progress.target != situation.target:
        before, losses = situation.before, _losses(workload, progress)
        ended = before.phase in ("Complete", "Idle") and before.target == situation.target
        halted = before.phase == "Halted" and before.target == situation.target and str(workload.ref) in before.current
        since = situation.now - situation.progress_timeout if halted else situation.now
        settled = settled or ended
        return Progress(target=situation.target, since=since, mark=workload.mark, settled=settled, losses=losses)
    return replace(_progressed(progress, workload, situation.now), settled=progress.settled or settled)


def _progressed(progress: Progress, workload: Workload, now: float) -> Progress:
    return progress if progress.mark == workload.mark else replace(progress, mark=workload.mark, since=now)


def _stuck(workload: Workload, situation: Situation, progress: Mapping[str, Progress]) -> Stuck | None:
    if workload.failure:
        return Stuck(workload, "ReplicaFailure", f"{workload.ref} cannot make its pods: {workload.failure}")
    waited = situation.now - progress[workload.uid].since
    if waited < situation.progress_timeout:
        return None
    counts = workload.counts
    how_far = f"{counts.available} of {counts.desired} pods are available, {counts.updated} are updated"
    if workload.rolled:
        how_far = "its pods came without the new sidecar"
    elif hindrance := situation.hindrances.get(workload.ref):
        how_far = f"{how_far}; {hindrance}"
    return Stuck(workload, "ProgressTimeout", f"{workload.ref} does not settle: {how_far}")


def _unsteady(workload: Workload, situation: Situation) -> bool:
    """Not settled before, and not because of an earlier target of ours, which waits for a fix and comes first."""
    return not workload.rolled and workload.inert is None and not _waits_for_fix(workload, situation)


def _waits_for_fix(workload: Workload, situation: Situation) -> bool:
    progress, before = situation.progress.get(workload.uid), situation.before
    ours = workload.applied and workload.fields.managed and not workload.rolled
    remembered = progress is not None and progress.target == workload.fields.revision and not progress.settled
    return ours and (remembered or (before.phase == "Halted" and str(workload.ref) in before.current))


def _writes(situation: Situation, found: _Sorted, *, halted: bool) -> tuple[tuple[Write, ...], bool]:
    """What is written, and whether only `free` keeps more from it."""
    fields = fields_for(situation.backend, situation.target)
    wanted = [workload for workload in found.candidates if _wanted(workload, situation)]
    at_once = [each for each in (*wanted, *found.releases) if each.inert not in (None, "Partitioned")]
    written = {each.uid for each in at_once}
    turn = _turn(situation, found, [each for each in wanted if each.uid not in written])
    turn += [each for each in found.releases if each.uid not in written]
    own = 0 if halted else max(0, situation.max_unavailable - len(found.moving))
    released = {workload.uid for workload in found.releases}
    chosen = [*at_once, *turn[: min(own, situation.free)]]
    writes = tuple(
        Write(workload, None)
        if workload.uid in released
        else Write(workload, fields, _losses(workload, found.progress.get(workload.uid)))
        for workload in chosen
    )
    return writes, min(own, len(turn)) > situation.free


def _turn(situation: Situation, found: _Sorted, wanted: Sequence[Workload]) -> list[Workload]:
    """Their order: first what waits for a fix; what was unsteady before only when all else is done."""
    first = [workload for workload in wanted if _waits_for_fix(workload, situation)]
    last = [workload for workload in wanted if _unsteady(workload, situation)]
    apart = {workload.uid for workload in (*first, *last)}
    turn = [*first, *(workload for workload in wanted if workload.uid not in apart)]
    return turn if turn or found.moving or found.releases else last


def _wanted(workload: Workload, situation: Situation) -> bool:
    """Under `Manual` a workload takes the new revision when its user restarts it (`kubectl rollout restart`)."""
    return situation.policy == "Automatic" or seconds_of(workload.restarted_at) >= situation.revised > 0


def _phase(situation: Situation, found: _Sorted, *, halted: bool, selected: bool) -> Phase:
    if situation.suspended and (found.candidates or found.releases):
        return "Suspended"
    if halted:
        return "Halted"
    if found.moving or found.releases or any(_wanted(workload, situation) for workload in found.candidates):
        return "Progressing"
    if found.candidates:
        return "Manual"
    return "Complete" if selected else "Idle"


def _again(situation: Situation, found: _Sorted) -> float | None:
    """When the next of the moving ones would be stuck, or what was taken off is written again."""
    ends = [found.progress[workload.uid].since + situation.progress_timeout for workload in found.moving]
    ends += [found.progress[workload.uid].wait_until for workload in found.contended]
    waiting = [end - situation.now for end in ends if end > situation.now]
    return max(0.05, min(waiting)) if waiting else None


def written(write: Write, now: float, after: Workload) -> Progress:
    """The progress of a workload that has just been written. after: as the API server answered."""
    target = None if write.fields is None else write.fields.revision
    return Progress(target=target, since=now, mark=after.mark, losses=write.losses)

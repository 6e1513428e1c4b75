"""One review from end to end: look up, decide, and say it as the API server understands it; within a time budget."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.admission.choose import Candidate
from mimic_operator.admission.index import Name
from mimic_operator.admission.inject import Decision, Door, Request, decide, end, softened
from mimic_operator.admission.lookup import Lookup
from mimic_operator.admission.outcomes import Verdict
from mimic_operator.admission.patch import patch
from mimic_operator.admission.pod_shape import malformed
from mimic_operator.cluster.faults import Fault

logger = logging.getLogger("mimic.admission")
BUDGET_SECONDS = 2.0
"""The API server waits five; what it hears then is ours to say."""


@dataclass(slots=True)
class Reviewer:
    """server: major and minor version of the API server."""

    lookup: Lookup
    server: tuple[int, int]
    budget_seconds: float = BUDGET_SECONDS

    async def pod(self, pod: Mapping[str, Any], namespace: str, door: Door, dry_run: bool) -> Decision:
        """Never raises: what cannot be decided is a decision, too."""
        if wrong := malformed(pod):
            return softened(end("Malformed", problem=wrong), door)
        try:
            async with asyncio.timeout(self.budget_seconds):
                known = await self.lookup.know(pod, namespace)
            request = Request(place=known.place, door=door, server=self.server, dry_run=dry_run)
            return decide(pod, request, known.candidates, lambda where, name: known.revisions.get(Name(where, name)))
        except TimeoutError:
            problem = f"the API server did not answer it within {self.budget_seconds:g} s"
        except Fault as fault:
            problem = f"the API server did not answer it ({fault.reason})"
        except Exception:
            logger.exception("A review broke")
            return softened(end("Failed"), door)
        return softened(end("Undecided", problem=problem), door)

    def others(self, namespace: str) -> Sequence[Candidate]:
        """The MimicBackends of a namespace, as far as they are known."""
        return self.lookup.index.backends(namespace)


def operations(pod: Mapping[str, Any], decision: Decision) -> list[dict[str, Any]]:
    """The patch; none for what is denied."""
    return [] if decision.verdict is Verdict.DENIED else patch(pod, decision)


def warnings(decision: Decision, *, dry_run: bool) -> list[str]:
    """Admission warnings, which kubectl shows: what somebody has to know, on a dry run all of it."""
    found = []
    if decision.verdict is Verdict.WARNED or (dry_run and decision.verdict is Verdict.ADMITTED):
        found.append(f"Mimic, {decision.reason}: {decision.sentence}")
    if decision.verdict is not Verdict.DENIED:
        found += [f"Mimic, {each.word}: {each.sentence}" for each in decision.remarks if each.told or dry_run]
    return found


def refusal(decision: Decision) -> str:
    """What the user reads instead of a pod."""
    return f"Mimic, {decision.reason}: {decision.sentence}"

"""Whether the CustomResourceDefinition of MimicBackend can be relied on. Without it nothing is reconciled or released.

A CRD that is deleted takes every MimicBackend with it, and one that was made anew has none yet: neither is a decision
of the user about their workloads, which keep their sidecars meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mimic_operator.resource.crd import NAME, missing_fields
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import CRD
from mimic_operator.runtime.queue import Backoff

logger = logging.getLogger("mimic.definition")
FRESH_SECONDS = 600.0
"""For so long after a CRD was created, workloads from before it wait for their MimicBackend to be applied again."""


@dataclass(slots=True)
class Definition:
    """seconds: between two reads while it cannot be relied on. age: seconds since an RFC 3339 time."""

    cluster: Cluster
    seconds: float
    backoff: Backoff
    age: Callable[[str], float]
    _usable: asyncio.Event = field(default_factory=asyncio.Event)
    _doubted: asyncio.Event = field(default_factory=asyncio.Event)
    _said: str = ""

    async def run(self) -> None:
        """Reads the CRD at the start and whenever it is doubted, until cancelled."""
        failures = 0
        while True:
            self._doubted.clear()
            try:
                problem, _ = await self._read()
                failures = 0
            except Fault as fault:
                failures += 1
                logger.debug("The CustomResourceDefinition could not be read: %s", fault)
                await asyncio.sleep(fault.retry_after or self.backoff(failures))
                continue
            if problem:
                await asyncio.sleep(self.seconds)
            else:
                await self._doubted.wait()

    async def usable(self) -> None:
        """Waits until the CRD can be relied on."""
        await self._usable.wait()

    def doubt(self) -> None:
        """Has the CRD read again: the API server does not serve MimicBackend, or reports one as deleted."""
        self._doubted.set()

    async def may_release(self, applied: Iterable[str]) -> bool:
        """Whether a MimicBackend that is gone was deleted by itself. Raises Fault.

        applied: when its workloads got the operator's fields (RFC 3339).
        """
        problem, created = await self._read()
        if problem:
            self.doubt()
            return False
        return not created or self.age(created) > FRESH_SECONDS or all(created <= each for each in applied)

    async def _read(self) -> tuple[str, str]:
        """What is wrong with the CRD, empty if nothing is, and when it was created. Raises Fault."""
        try:
            manifest = await self.cluster.get(CRD, None, NAME)
        except Fault as fault:
            if fault.reason != "forbidden":
                raise
            self._judged("", f"The CustomResourceDefinition cannot be read and is taken as good: {fault}")
            return "", ""
        if manifest is None:
            problem = f"There is no CustomResourceDefinition {NAME}: apply the chart's"
        elif manifest["metadata"].get("deletionTimestamp"):
            problem = f"The CustomResourceDefinition {NAME} is being deleted: apply the chart's when it is gone"
        elif lacks := missing_fields(manifest):
            named = ", ".join(lacks[:5])
            problem = f"The cluster's MimicBackend is older than this operator and lacks {named}: apply the chart's CRD"
        else:
            problem = ""
        self._judged(problem, problem and f"{problem}. Nothing is written or released until then")
        return problem, str((manifest or {}).get("metadata", {}).get("creationTimestamp") or "")

    def _judged(self, problem: str, sentence: str) -> None:
        if sentence != self._said:
            if sentence:
                logger.warning("%s", sentence)
            else:
                logger.info("The CustomResourceDefinition is there")
            self._said = sentence
        if problem:
            self._usable.clear()
        else:
            self._usable.set()

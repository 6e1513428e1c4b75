"""Labels and annotations under mimic.dev/ that a pod bears, and which of them nobody reads."""

import difflib
from collections.abc import Iterator, Mapping

from mimic_operator.admission import pods
from mimic_operator.admission.environment import Remarked, remark
from mimic_operator.resource import naming

LABELS = (naming.LABEL_INJECT, naming.LABEL_MANAGED, naming.LABEL_COMPONENT)
ANNOTATIONS = (
    naming.ANNOTATION_BACKEND,
    naming.ANNOTATION_REVISION,
    naming.ANNOTATION_RETRY_AT,
    naming.ANNOTATION_CLIENT_KEY_SECRET,
)
WRITTEN = (naming.ANNOTATION_CONFIG_HASH, naming.ANNOTATION_TEMPLATE_HASH, naming.ANNOTATION_PORT)
"""By the webhook, into pods; on a pod that comes without the proxy they say nothing."""
FIELDS = {naming.ANNOTATION_PORT: "spec.injection.port of the MimicBackend chooses it."}
NAMESPACES = {naming.LABEL_INJECTION: "It is a label of namespaces; on pods it is mimic.dev/inject."}


def unknown_keys(pod: pods.Pod, *, injected: bool) -> Iterator[Remarked]:
    """injected: the pod came with the proxy in it, and with what the webhook wrote then."""
    labels, annotations = pods.labels(pod), pods.annotations(pod)
    yield from _unknown("Label", labels, LABELS, "annotation", ANNOTATIONS)
    known = (*ANNOTATIONS, *WRITTEN) if injected else ANNOTATIONS
    yield from _unknown("Annotation", annotations, known, "label", LABELS)


def _unknown(
    where: str, given: Mapping[str, str], known: tuple[str, ...], other: str, others: tuple[str, ...]
) -> Iterator[Remarked]:
    for key in sorted(given):
        if key.startswith(f"{naming.GROUP}/") and key not in known:
            yield remark("UnknownKey", where=where, key=key, remedy=_remedy(key, known, other, others))


def _remedy(key: str, known: tuple[str, ...], other: str, others: tuple[str, ...]) -> str:
    if key in others:
        return f"Set it as {'an' if other == 'annotation' else 'a'} {other}."
    if key in NAMESPACES:
        return NAMESPACES[key]
    if key in WRITTEN:
        return f"Mimic writes it itself. {FIELDS.get(key, '')}".strip()
    near = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]}?" if near else ""

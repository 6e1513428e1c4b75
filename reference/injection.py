"""docs/reference/injection.md: what can become of a pod, from the table that decides it."""

from collections.abc import Iterable

from mimic_operator.webhook.outcomes import OUTCOMES, REMARKS, Outcome, Verdict

HEAD = """\
# What becomes of a pod

Made by `make reference`. Each pod that reaches the webhook ends with one of these words: in the answer, in the Event on
its workload, in `mimic_operator_admissions_total{reason}`, and in what `mimic-operator inject FILE` prints. A dry run
on the server (`kubectl apply --dry-run=server`) shows the decision with all remarks as warnings.

Pods come by two doors: their own label `mimic.dev/inject: "true"`, or the label `mimic.dev/injection: enabled` of their
namespace. By the second one nobody is ever denied: what says *denied* here is a warning there, and the pod starts
without the proxy.
"""
SECTIONS = {
    Verdict.ADMITTED: "## Admitted",
    Verdict.WARNED: "## Admitted with a warning",
    Verdict.DENIED: "## Denied",
}
REMARKS_HEAD = """\
## Remarks

Said besides the word above. Those that are told come as admission warnings (kubectl prints them); the others appear on
a dry run and with `mimic-operator inject --explain`. Counted in `mimic_operator_admission_remarks_total{remark}`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for verdict, title in SECTIONS.items():
        found = [each for each in OUTCOMES.values() if each.verdict is verdict]
        parts.append(f"{title}\n\n{_table(('Word', 'What is said'), map(_outcome, found))}")
    rows = [(f"`{each.word}`", "yes" if each.told else "", _cell(each.sentence)) for each in REMARKS.values()]
    parts.append(f"{REMARKS_HEAD}\n{_table(('Word', 'Told', 'What is said'), rows)}")
    return "\n".join(parts)


def _outcome(outcome: Outcome) -> tuple[str, str]:
    return f"`{outcome.word}`", _cell(outcome.sentence)


def _cell(sentence: str) -> str:
    return sentence.replace("|", "\\|").replace("{", "*").replace("}", "*")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

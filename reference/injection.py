"""docs/reference/injection.md: every outcome of an admission, from the table that decides it."""

from collections.abc import Iterable

from mimic_operator.webhook.outcomes import NOTES, OUTCOMES, Outcome, Verdict

HEAD = """\
# Outcomes of an admission

Made by `make reference`. Each pod that reaches the webhook ends with one of these words: in the response, in the Event
on its workload, in `mimic_operator_admissions_total{reason}`, and in the output of `mimic-operator inject FILE`. A dry
run on the server (`kubectl apply --dry-run=server`) shows the decision with all notes as warnings.

Pods reach the webhook by their own label `mimic.dev/inject: "true"`, or by the label `mimic.dev/injection: enabled` of
their namespace. The second never denies a pod: *denied* below is then a warning, and the pod starts without the proxy,
with the label `mimic.dev/injected: none` (`kubectl get pods -A -l mimic.dev/injected=none` lists them).
"""
SECTIONS = {
    Verdict.ADMITTED: "## Admitted",
    Verdict.WARNED: "## Admitted with a warning",
    Verdict.DENIED: "## Denied",
}
NOTES_HEAD = """\
## Notes

Reported besides the word above. Warnings come as admission warnings, which kubectl prints; the others appear on a dry
run and with `mimic-operator inject --explain`. Counted in `mimic_operator_admission_notes_total{note}`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for verdict, title in SECTIONS.items():
        found = [each for each in OUTCOMES.values() if each.verdict is verdict]
        parts.append(f"{title}\n\n{_table(('Word', 'Sentence'), map(_outcome, found))}")
    rows = [(f"`{each.word}`", "yes" if each.warns else "", _cell(each.sentence)) for each in NOTES.values()]
    parts.append(f"{NOTES_HEAD}\n{_table(('Word', 'Warning', 'Sentence'), rows)}")
    return "\n".join(parts)


def _outcome(outcome: Outcome) -> tuple[str, str]:
    return f"`{outcome.word}`", _cell(outcome.sentence)


def _cell(sentence: str) -> str:
    return sentence.replace("|", "\\|").replace("{", "*").replace("}", "*")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

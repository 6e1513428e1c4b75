"""Label selectors, as Kubernetes has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.patterns import LABEL_KEY
from mimic_operator.resource.shape import Items, OneOf, Section, SectionRule, Table, Text
from mimic_operator.resource.spec.references import LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One expression of a label selector (Kubernetes, LabelSelectorRequirement)."""

    key: Annotated[str, Text("A label's key.", most=317, matches=LABEL_KEY)]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"],
        OneOf("How the label is compared.", ("In", "NotIn", "Exists", "DoesNotExist")),
    ]
    values: Annotated[tuple[str, ...], Items("Values for In and NotIn.", LABELS, most=32)] = ()


def _values_fit(requirement: Requirement) -> bool:
    return bool(requirement.values) == (requirement.operator in ("In", "NotIn"))


VALUES_FIT = SectionRule(
    "values",
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    _values_fit,
    "must have entries for In and NotIn, and none for Exists and DoesNotExist",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """All conditions must hold; without any it selects everything, as in Kubernetes."""

    match_labels: Annotated[Mapping[str, str], Table("Labels that must be there.", LABELS, most=32, keys=LABEL_KEY)] = (
        field(default_factory=dict)
    )
    match_expressions: Annotated[
        tuple[Requirement, ...],
        Items("Further conditions.", Section("A condition.", Requirement, (VALUES_FIT,)), most=32),
    ] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected (Kubernetes, labels and selectors)."""
        wanted = all(labels.get(key) == value for key, value in self.match_labels.items())
        return wanted and all(_holds(expression, labels) for expression in self.match_expressions)


def _holds(expression: Requirement, labels: Mapping[str, str]) -> bool:
    match expression.operator:
        case "In":
            return labels.get(expression.key) in expression.values
        case "NotIn":
            return labels.get(expression.key) not in expression.values
        case "Exists":
            return expression.key in labels
        case "DoesNotExist":
            return expression.key not in labels

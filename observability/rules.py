"""The rule files of the chart."""

from observability import budgets, operator_alerts, process_alerts, recording, relay_alerts, token_alerts
from observability.rulefile import render


def files() -> dict[str, str]:
    """Their texts by name."""
    return {
        "recording.yaml": render(*recording.groups()),
        "budgets.yaml": render(budgets.group()),
        "alerts.yaml": render(token_alerts.group(), relay_alerts.group(), process_alerts.group()),
        "absent.yaml": render(process_alerts.absent()),
        "operator.yaml": render(operator_alerts.group()),
        "operator-absent.yaml": render(operator_alerts.absent()),
    }

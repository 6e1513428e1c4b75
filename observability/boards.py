"""The dashboards of the chart."""


def files() -> dict[str, str]:
    """Their texts by name."""
    return {}

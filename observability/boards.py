"""The dashboards of the chart."""

from observability import operator_board, overview, streams_board, tokens_board
from observability.grafana import rendered


def files() -> dict[str, str]:
    """Their texts by name."""
    made = (overview.dashboard(), tokens_board.dashboard(), streams_board.dashboard(), operator_board.dashboard())
    return {f"{board.uid}.json": rendered(board) for board in made}

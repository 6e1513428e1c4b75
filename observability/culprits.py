"""Whose fault an outcome is: the question that the first row of the overview answers."""

from observability.panels import BLUE, GREY, ORANGE, PURPLE, RED

MIMIC = ("internal_error", "overloaded")
TOKEN_SERVICE = ("token_error",)
BACKEND = ("upstream_error", "timeout", "idle_timeout", "circuit_open")
CALLERS = ("client_error", "client_disconnect")
RESTART = ("shutdown",)

COLOURS = {
    f"^({'|'.join(outcomes)})$": colour
    for outcomes, colour in (
        (MIMIC, PURPLE),
        (TOKEN_SERVICE, ORANGE),
        (BACKEND, RED),
        (CALLERS, BLUE),
        (RESTART, GREY),
    )
}
"""The same colours wherever outcomes are drawn."""
LEGEND = "Purple is Mimic, orange the token service, red the backend, blue the callers."

"""PRESET: what one word stands for. Data, as the public documentation of each service has it.

A preset gives variables their values where nobody has set them. `{NAME}` in a value is the value of another variable:
where that has none either, it is asked for by its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

PLACE = re.compile(r"\{([A-Z_]+)\}")
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
AS_FORM = {"GRANT": "client_credentials", "TOKEN_ENCODING": "form"}


@dataclass(frozen=True, slots=True)
class Preset:
    """values: by variable. source: where they are documented."""

    meaning: str
    values: Mapping[str, str]
    source: str


PRESETS: Mapping[str, Preset] = {
    "original": Preset(
        "an in-house gateway: a code for a token, which is sent without a scheme; answers in an envelope",
        {"GRANT": "auth_code", "DIALECT": "envelope", "TOKEN_POINTER": "data.access_token", "TOKEN_FORMAT": "{token}"},
        "docs/tokens.md",
    ),
    "oauth2": Preset(
        "client credentials at any OAuth 2.0 server, authenticated by basic authentication",
        {**AS_FORM, "TOKEN_SECRET_IN": "basic"},
        "RFC 6749, 4.4",
    ),
}


def completed(preset: str, given: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """What `preset` sets beside `given` variables; and those that it misses, each with what it is for."""
    found: dict[str, object] = {}
    missing: dict[str, str] = {}
    for name, value in PRESETS[preset].values.items():
        if name in given or f"{name}_FILE" in given:
            continue
        lacking = [place for place in PLACE.findall(value) if place not in given]
        for place in lacking:
            missing[place] = f"PRESET={preset} makes {name} of it; or set {name}"
        if not lacking:
            found[name] = PLACE.sub(lambda match: str(given[match[1]]).strip().rstrip("/"), value)
    return found, missing

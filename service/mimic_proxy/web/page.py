"""The status page: put together from its parts into one document that needs nothing from anywhere.

Its style and its scripts stand inside of it, and the policy that goes with it allows these very texts by their hashes
and nothing else (Content Security Policy Level 3, 2.3.1): what a caller got into the page could not run.
"""

import base64
import hashlib
from importlib.resources import files
from typing import NamedTuple

STYLE = "status.css"
SCRIPTS = ("status_plots.js", "status_tables.js", "status.js")


class Page(NamedTuple):
    """The document, and the header fields that it is sent with."""

    body: bytes
    headers: dict[str, str]


def assemble(document: str, style: str, script: str) -> Page:
    """`document` holds `<style></style>` and `<script></script>`, empty and once each."""
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    body = document.replace("<style></style>", f"<style>{style}</style>", 1)
    body = body.replace("<script></script>", f"<script>{script}</script>", 1)
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return Page(body.encode("utf-8"), headers)


def status_page() -> Page:
    """The page as it is shipped."""
    parts = files("mimic_proxy.web")
    document, style, *scripts = (parts.joinpath(name).read_text("utf-8") for name in ("status.html", STYLE, *SCRIPTS))
    return assemble(document, style, '"use strict";\n' + "".join(scripts))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"

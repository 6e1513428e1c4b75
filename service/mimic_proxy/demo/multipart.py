"""Reading multipart/form-data (RFC 7578) from a body that is in memory. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from mimic_proxy.demo.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a form; `filename` is None for one that is not a file."""

    content: bytes
    filename: str | None
    content_type: str


def form(content_type: str, body: bytes) -> Mapping[str, Part]:
    """The fields by their names, the first of each. Raises Refusal (400) if the body is no such form."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise Refusal("The content-type must be multipart/form-data with a boundary.")
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    sections = (b"\r\n" + body).split(delimiter)
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise Refusal("The multipart body does not end with its boundary.")
    parts: dict[str, Part] = {}
    for section in sections[1:-1]:
        head_bytes, blank, content = section.partition(b"\r\n\r\n")
        fields = HeaderParser().parsestr(head_bytes.decode("utf-8", "replace").lstrip())
        name = fields.get_param("name", header="content-disposition")
        if not blank or not isinstance(name, str):
            raise Refusal("A part of the multipart body has no name.")
        parts.setdefault(name, Part(content, fields.get_filename(), fields.get_content_type()))
    return parts


def required(parts: Mapping[str, Part], name: str) -> Part:
    """The field of that name. Raises Refusal (400) if it is missing."""
    if name not in parts:
        raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    return parts[name]


def text(parts: Mapping[str, Part], name: str, default: str = "") -> str:
    """A field's text, `default` if it is missing."""
    return parts[name].content.decode("utf-8", "replace") if name in parts else default

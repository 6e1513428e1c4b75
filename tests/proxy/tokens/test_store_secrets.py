"""Secrets from values and from files that change."""

import logging
import os
from pathlib import Path

import pytest

from mimic_proxy.settings.fields import SecretRef
from mimic_proxy.tokens.store import Secret

NOW = 1.0
"""Long before any file here was written: a time of another machine's clock."""


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_value_is_the_secret() -> None:
    secret = Secret(SecretRef("AUTH_CODE", "abc"))
    assert (secret.read(NOW), secret.name) == ("abc", "AUTH_CODE")


def test_without_value_and_file_the_variable_is_named() -> None:
    secret = Secret(SecretRef("AUTH_CODE"))
    assert secret.read(NOW) is None
    assert "AUTH_CODE" in secret.missing


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b"abc\n\n", "abc\n"),
        (b" a b ", " a b "),
        ("\u20ac\n".encode(), "\u20ac"),
    ],
)
def test_one_final_newline_of_a_file_is_no_part_of_the_secret(tmp_path: Path, content: bytes, value: str) -> None:
    file = tmp_path / "code"
    file.write_bytes(content)
    assert Secret(SecretRef("AUTH_CODE", file=file)).read(NOW) == value


def test_a_changed_file_is_read_again_through_a_swapped_link(tmp_path: Path) -> None:
    for name, content in (("v1", "first"), ("v2", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code").write_text(content)
    (tmp_path / "now").symlink_to("v1")
    secret = Secret(SecretRef("AUTH_CODE", file=tmp_path / "now" / "code"))
    assert secret.read(NOW) == "first"
    (tmp_path / "next").symlink_to("v2")
    os.replace(tmp_path / "next", tmp_path / "now")
    assert secret.read(NOW) == "second"


def test_a_missing_file_is_named_and_heals_when_it_appears(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mimic.tokens")
    file = tmp_path / "code"
    secret = Secret(SecretRef("AUTH_CODE", file=file))
    assert [secret.read(NOW), secret.read(NOW)] == [None, None]
    assert "AUTH_CODE_FILE" in secret.missing
    assert str(file) in secret.missing
    assert "does not exist" in secret.missing
    assert len(warnings(caplog)) == 1
    file.write_text("abc")
    assert secret.read(NOW) == "abc"
    assert caplog.messages[-1] == f"AUTH_CODE_FILE: {file} can be read now"
    file.unlink()
    assert secret.read(NOW) == "abc"
    file.write_text("def")
    assert secret.read(NOW) == "def"
    assert caplog.messages[-1] == f"AUTH_CODE_FILE: {file} can be read again"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_an_empty_or_unreadable_file_keeps_the_last_value_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    file = tmp_path / "code"
    file.write_text("kept-value")
    secret = Secret(SecretRef("AUTH_CODE", file=file))
    assert secret.read(NOW) == "kept-value"
    if content is None:
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(content)
    assert [secret.read(NOW), secret.read(NOW)] == ["kept-value", "kept-value"]
    (warning,) = warnings(caplog)
    assert "AUTH_CODE_FILE" in warning
    assert "kept-value" not in caplog.text
    assert "kept-value" not in repr(secret)

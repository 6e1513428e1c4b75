"""The list of client keys: its forms, and what becomes of it when it changes."""

import logging
from pathlib import Path

import pytest

from mimic_proxy.app.client_keys import ClientKeys
from mimic_proxy.settings.fields import SecretRef


def of(file: Path) -> ClientKeys:
    return ClientKeys(SecretRef("CLIENT_KEYS", file=file))


def test_a_file_names_its_keys_or_counts_them(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\ncrm: mk-one\n\nmk-two==\nsearch:  mk-three\n")
    keys = of(file)
    names = [keys.callers.name_of(key) for key in (b"mk-one", b"mk-two==", b"mk-three")]
    assert names == ["crm", "key-2", "search"]


def test_a_folder_is_a_mounted_secret(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11"
    data.mkdir()
    (data / "crm").write_text("mk-old\nmk-new\n")
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "crm").symlink_to(tmp_path / "..data" / "crm")
    keys = of(tmp_path)
    assert [keys.callers.name_of(key) for key in (b"mk-old", b"mk-new")] == ["crm", "crm"]
    assert len(keys.callers) == 2


def test_a_list_that_cannot_be_read_stays_and_an_empty_one_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("crm: mk-one\n")
    keys = of(file)
    file.write_bytes(b"\xff\xfe")
    with caplog.at_level(logging.WARNING):
        assert not keys.reload()
    assert keys.callers.name_of(b"mk-one") == "crm"
    file.write_text("\n")
    assert keys.reload()
    assert len(keys.callers) == 0
    file.unlink()
    assert not keys.reload()
    assert "mk-one" not in caplog.text


def test_a_file_that_comes_later_is_used_then(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    keys = of(file)
    assert len(keys.callers) == 0
    assert "nobody is let in" in caplog.text
    file.write_text("mk-one")
    assert keys.reload()
    assert keys.callers.name_of(b"mk-one") == "key-1"

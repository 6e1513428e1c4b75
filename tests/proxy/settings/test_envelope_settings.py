"""The settings of DIALECT=envelope."""

from pathlib import Path

import pytest

from mimic_proxy.settings.fields import Settings, SettingsError, config_hash, load, redacted

USUAL = {
    "TOKEN_URL": "https://auth.example.com/token",
    "CHAT_API_URL": "https://gateway.example.com/chat",
    "EMBEDDING_API_URL": "https://gateway.example.com/embeddings",
    "AUTH_CODE": "s3cr3t",
    "DIALECT": "envelope",
}
SECRET = "key-of-the-application"


def settings(**more: str) -> Settings:
    return load({**USUAL, **more})


def test_the_usual_variables_and_the_dialect_are_enough() -> None:
    found = settings()
    assert found.warnings == ()
    assert (found.dialect, found.token_format) == ("envelope", "{token}")
    assert settings(TOKEN_FORMAT="Token {token}").token_format == "Token {token}"
    assert settings(DIALECT="openai").token_format == "Bearer {token}"


def test_a_setting_of_the_envelope_without_the_dialect_is_warned_of() -> None:
    assert settings(ENVELOPE_TEXT_PATH="a").warnings == ()
    (warning,) = settings(DIALECT="openai", ENVELOPE_TEXT_PATH="a").warnings
    assert warning == "ENVELOPE_TEXT_PATH is set, but only DIALECT=envelope uses it"


def test_places_are_lists_in_the_environment_and_in_yaml(tmp_path: Path) -> None:
    assert settings(ENVELOPE_TEXT_PATH="a.b, /c/d").envelope_text_path == ("a.b", "/c/d")
    file = tmp_path / "mimic.yaml"
    file.write_text(
        "envelope_text_path: [a.b, /c/d]\nenvelope_request_rename: {model: modelName}\n"
        "envelope_request_add: {app: crm}\nenvelope_success_codes: [1, ok]\n"
    )
    found = settings(MIMIC_CONFIG=str(file))
    assert found.envelope_text_path == ("a.b", "/c/d")
    assert found.envelope_request_rename == ("model=modelName",)
    assert found.envelope_request_add == '{"app":"crm"}'
    assert found.envelope_success_codes == ("1", "ok")


def test_a_comma_alone_is_no_place_at_all() -> None:
    assert settings(ENVELOPE_USAGE_PATH=",").envelope_usage_path == ()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("ENVELOPE_TEXT_PATH", ",", "at least one place"),
        ("ENVELOPE_EMBEDDING_PATH", " , ", "at least one place"),
        ("ENVELOPE_TEXT_PATH", "a..b", "RFC 6901"),
        ("ENVELOPE_REQUEST_UNDER", "/a~b", "RFC 6901"),
        ("ENVELOPE_REQUEST_RENAME", "model", "messages=conversation"),
        ("ENVELOPE_REQUEST_RENAME", "a=b,a=c", "twice"),
        ("ENVELOPE_REQUEST_RENAME", "a=c,b=c", "twice"),
        ("ENVELOPE_REQUEST_ADD", "[1]", "JSON object"),
        ("ENVELOPE_REQUEST_ADD", "{", "JSON object"),
        ("ENVELOPE_REQUEST_ADD", '{"a": NaN}', "JSON object"),
        ("ENVELOPE_STREAM", "websocket", "auto, sse, ndjson or off"),
        ("ENVELOPE_EMBEDDING_BATCH", "0", "from 1 to 2048"),
        ("ENVELOPE_MODELS_URL", "gateway", "http"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wanted(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{name: value})
    ((found, message),) = caught.value.problems
    assert found == name
    assert wanted in message


def test_what_every_request_gets_besides_is_shown_by_its_names_alone() -> None:
    found = settings(ENVELOPE_REQUEST_ADD=f'{{"key": "{SECRET}"}}')
    assert redacted(found)["ENVELOPE_REQUEST_ADD"] == {"key": "***"}
    assert SECRET not in repr(found)
    assert config_hash(found) != config_hash(settings())

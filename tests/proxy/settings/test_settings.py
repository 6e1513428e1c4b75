"""Settings from environment, `.env` and YAML; everything that is wrong in one message, and no secret in it."""

from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.settings.fields import (
    DEFAULTS,
    NAMES,
    READERS,
    SECRETS,
    SecretRef,
    Settings,
    SettingsError,
    load,
    load_port,
    redacted,
)
from mimic_proxy.settings.sources import Problem

SECRET = "s3cr3t-of-the-token-service"
USUAL = MappingProxyType(
    {
        "TOKEN_URL": "https://auth.example.com/token",
        "CHAT_API_URL": "https://models.example.com/v1",
        "EMBEDDING_API_URL": "https://models.example.com/v1",
        "AUTH_CODE": SECRET,
    }
)


def settings(**more: str) -> Settings:
    return load({**USUAL, **more})


def problems(environ: dict[str, str], dotenv: Path | None = None) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, dotenv)
    return dict(caught.value.problems)


def wrong(environ: dict[str, str]) -> list[Problem]:
    try:
        load(environ)
    except SettingsError as error:
        return error.problems
    return []


def problem(name: str, value: str) -> str:
    found = problems({**USUAL, name: value})
    assert set(found) == {name}
    return found[name]


def test_four_variables_are_enough():
    found = settings()
    assert found.chat_api_url == "https://models.example.com/v1"
    assert found.auth_code == SecretRef("AUTH_CODE", SECRET)
    assert (found.verify_ssl, found.port, found.log_level) == (True, 8000, "INFO")
    assert (found.admin_port, found.grant, found.dialect) == (8001, "auth_code", "openai")
    assert found.host == found.admin_host == ("127.0.0.1", "::1")
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("MAX_BODY_BYTES", 33554432),
        ("MAX_CONCURRENCY", 512),
        ("MAX_QUEUE", 1024),
        ("MAX_BUFFERED_BYTES", 268435456),
        ("TOKEN_DEFAULT_LIFETIME", 300),
        ("TOKEN_TIMEOUT", 10),
        ("QUEUE_TIMEOUT", 10),
        ("CONNECT_TIMEOUT", 5),
        ("FIRST_BYTE_TIMEOUT", 600),
        ("IDLE_TIMEOUT", 300),
        ("SEND_TIMEOUT", 60),
        ("TOTAL_TIMEOUT", 900),
        ("DRAIN_DELAY", 0),
        ("DRAIN_TIMEOUT", 25),
        ("HEARTBEAT_AFTER", 0),
    ],
)
def test_the_documented_defaults_hold(name: str, default: float):
    assert redacted(settings())[name] == default


def test_everything_that_is_wrong_stands_in_one_message_by_name():
    with pytest.raises(SettingsError) as caught:
        load({"PORT": "http", "VERIFY_SSL": "maybe", "CHAT_API_URL": "models.example.com", "LOG_LEVEL": "loud"})
    assert [problem.name for problem in caught.value.problems] == [
        "AUTH_CODE",
        "CHAT_API_URL",
        "EMBEDDING_API_URL",
        "LOG_LEVEL",
        "PORT",
        "TOKEN_URL",
        "VERIFY_SSL",
    ]
    assert all(problem.name in str(caught.value) for problem in caught.value.problems)
    assert str(caught.value).startswith("7 invalid settings:\n")


@pytest.mark.parametrize("name", sorted({*READERS, *SECRETS} - {"CLIENT_ID", "SCOPE"}))
def test_no_value_stands_in_a_message(name: str):
    """Somebody may have put the secret into the wrong variable."""
    value = f"\x07{SECRET}\x07 ://"
    assert all(SECRET not in f"{found.name}: {found.message}" for found in wrong({**USUAL, name: value}))


def test_no_representation_shows_a_secret():
    found = settings(HTTP_PROXY=f"http://user:{SECRET}@proxy:3128", CHAT_API_URL=f"https://models/v1?key={SECRET}")
    assert found.http_proxy == f"http://user:{SECRET}@proxy:3128"
    for shown in (repr(found), str(found), repr(found.auth_code), str(redacted(found))):
        assert SECRET not in shown
    assert redacted(found)["AUTH_CODE"] == "(set)"
    assert redacted(found)["HTTP_PROXY"] == "http://***@proxy:3128"
    assert redacted(found)["CHAT_API_URL"] == "https://models/v1?key=***"


def test_the_redacted_settings_are_complete():
    assert set(redacted(settings())) == set(READERS) | set(SECRETS)


@pytest.mark.parametrize("word", ["True", "true", "TRUE", "1", "yes", "Yes", "on"])
def test_true_has_several_words(word: str):
    assert settings(VERIFY_SSL=word).verify_ssl is True


@pytest.mark.parametrize("word", ["False", "false", "FALSE", "0", "no", "off"])
def test_false_has_several_words_and_unchecked_certificates_warn(word: str):
    found = settings(VERIFY_SSL=word)
    assert found.verify_ssl is False
    assert "VERIFY_SSL" in found.warnings[0]


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [
        ("127.0.0.1,::1", {}, False),
        ("127.0.0.2,localhost,api.localhost", {}, False),
        ("0.0.0.0", {}, True),
        ("127.0.0.1,192.0.2.7", {}, True),
        ("::", {}, True),
        ("my-machine", {}, True),
        ("0.0.0.0", {"CLIENT_KEYS": "secret-key-1"}, False),
        ("0.0.0.0", {"CLIENT_KEYS_FILE": "/run/keys"}, False),
    ],
)
def test_a_port_that_others_reach_without_client_keys_warns(host: str, keys: dict[str, str], warned: bool):
    found = settings(HOST=host, **keys).warnings
    assert [f"HOST={host} without CLIENT_KEYS" in warning for warning in found] == [True] * warned


@pytest.mark.parametrize("networks", ["10.0.0.0/33", "somewhere", "10.0.0.1/8", "10.0.0.0/8;::1"])
def test_networks_are_addresses_with_their_length(networks: str):
    with pytest.raises(SettingsError, match="STATUS_NETWORKS: must be IP addresses or networks"):
        settings(STATUS_NETWORKS=networks)
    assert settings(STATUS_NETWORKS="10.0.0.0/8, ::1").status_networks == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "-1", "0 to 65535"),
        ("PORT", "65536", "0 to 65535"),
        ("PORT", "8000.0", "0 to 65535"),
        ("PORT", "٨", "0 to 65535"),
        ("MAX_BODY_BYTES", "0", "at least 1"),
        ("MAX_BODY_BYTES", "9" * 30, "at least 1"),
        ("IDLE_TIMEOUT", "-0.1", "0 or more"),
        ("IDLE_TIMEOUT", "inf", "0 or more"),
        ("IDLE_TIMEOUT", "nan", "0 or more"),
        ("IDLE_TIMEOUT", "5s", "0 or more"),
        ("TOKEN_DEFAULT_LIFETIME", "0", "more than 0"),
        ("LOG_LEVEL", "TRACE", "DEBUG, INFO, WARNING or ERROR"),
        ("LOG_FORMAT", "xml", "json or console"),
        ("VERIFY_SSL", "2", "True or False"),
        ("HOST", ",", "at least one address"),
        ("HOST", "127.0.0.1:8000", "without a port"),
        ("ALLOWED_HOSTS", "https://mimic.example.com", "without scheme"),
        ("ALLOWED_ORIGINS", "app.example.com", "https://app.example.com"),
        ("ALLOWED_ORIGINS", "https://app.example.com/", "no slash at the end"),
        ("TOKEN_HEADER", "Author ization", "name of a header field"),
        ("TOKEN_HEADER", "Host", "frames or routes"),
        ("TOKEN_FORMAT", "Bearer", "{token}"),
        ("TOKEN_FORMAT", "Bearer {token}\r\nx: y", "{token}"),
        ("CHAT_API_URL", "ftp://models.example.com", "http"),
        ("CHAT_API_URL", "https://user:pass@models.example.com", "user name or password"),
        ("CHAT_API_URL", "https://models.example.com/v1#top", "fragment"),
        ("CHAT_API_URL", "https:///v1", "host"),
        ("CHAT_API_URL", "https://models.example.com:99999", "port"),
        ("CHAT_API_URL", "https://models.example.com/v1\r\nHost: x", "control character"),
        ("TOKEN_URL", "https://", "host"),
        ("HTTP_PROXY", "https://proxy.example.com", "TLS to the proxy"),
        ("HTTPS_PROXY", "socks5://proxy.example.com", "http:// proxy"),
        ("HTTPS_PROXY", "http://proxy.example.com/path", "nothing behind the port"),
        ("HTTPS_PROXY", "http://us er:x@proxy.example.com", "percent-encoded"),
        ("DIALECT", "soap", "must be openai or envelope"),
        ("GRANT", "password", "refresh_token, static or none"),
        ("PRESET", "nobody-knows", "must be original"),
        ("TOKEN_METHOD", "DELETE", "POST, GET or PUT"),
        ("TOKEN_ENCODING", "xml", "json, form or query"),
        ("TOKEN_SECRET_IN", "cookie", "body, header or basic"),
        ("TOKEN_SECRET_FORMAT", "Key", "{secret}"),
        ("TOKEN_FIELDS", "no-sign", "name=value"),
        ("TOKEN_FIELDS", "{broken", "not a JSON object"),
        ("TOKEN_FIELDS", "[1]", "name=value"),
        ("TOKEN_REQUEST_HEADERS", "Host=x", "neither frame nor route"),
        ("TOKEN_REQUEST_HEADERS", "X Y=x", "neither frame nor route"),
        ("TOKEN_REQUEST_HEADERS", '{"X": "a\\nb"}', "printable ASCII"),
        ("TOKEN_POINTER", "a..b", "RFC 6901"),
        ("TOKEN_POINTER", "/a~b", "RFC 6901"),
        ("TENANT", "../x", "part of a URL"),
        ("ISSUER", "idp.example", "http"),
        ("SUBJECT_TOKEN_TYPE", "some words", "jwt, access_token"),
        ("ASSERTION_ALGORITHM", "HS256", "RS256"),
        ("ASSERTION_LIFETIME", "0", "more than 0"),
        ("ADMIN_PORT", "8000", "differ from PORT"),
        ("CA_BUNDLE", "/nowhere/ca.pem", "path of a file"),
        ("MAX_BUFFERED_BYTES", "1000", "at least MAX_BODY_BYTES"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wanted(name: str, value: str, said: str):
    assert said in problem(name, value)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("PORT", "0", 0),
        ("ADMIN_PORT", " 9001 ", 9001),
        ("HOST", "0.0.0.0", ("0.0.0.0",)),
        ("HOST", "[::1], localhost", ("::1", "localhost")),
        ("MODELS", "a, org/b ,,a", ("a", "org/b")),
        ("ALLOWED_HOSTS", "mimic.ns.svc, fd00::1, [fd00::2]", ("mimic.ns.svc", "[fd00::1]", "[fd00::2]")),
        ("ALLOWED_ORIGINS", "https://app.example.com:8443, null", ("https://app.example.com:8443", "null")),
        ("IDLE_TIMEOUT", "0", 0.0),
        ("IDLE_TIMEOUT", "1.5", 1.5),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("TOKEN_FORMAT", "{token}", "{token}"),
        ("CHAT_API_URL", "http://[::1]:9000/v1?api-version=1", "http://[::1]:9000/v1?api-version=1"),
        ("HTTP_PROXY", "proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("HTTPS_PROXY", "http://u:p%40ss@proxy/", "http://u:p%40ss@proxy/"),
        ("NO_PROXY", "localhost, .internal", ("localhost", ".internal")),
        ("TOKEN_FIELDS", "a=b=c, d=", (("a", "b=c"), ("d", ""))),
        ("TOKEN_FIELDS", '{"a": {"b": 1}, "c": null}', (("a", {"b": 1}), ("c", None))),
        ("TOKEN_REQUEST_HEADERS", "X-Tenant=7", (("X-Tenant", "7"),)),
        ("TOKEN_POINTER", "data.token, /a~1b", ("data.token", "/a~1b")),
        ("SUBJECT_TOKEN_TYPE", "Access_Token", "urn:ietf:params:oauth:token-type:access_token"),
        ("ISSUER", "https://idp.example/realms/r/", "https://idp.example/realms/r"),
        ("ASSERTION_ALGORITHM", "eddsa", "EdDSA"),
        ("CLIENT_SECRET", " blanks count ", SecretRef("CLIENT_SECRET", " blanks count ")),
    ],
)
def test_values_are_read(name: str, value: str, wanted: object):
    assert getattr(settings(**{name: value}), name.lower()) == wanted


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({"GRANT": "static"}, "ACCESS_TOKEN"),
        ({"GRANT": "auth_code", "TOKEN_URL": USUAL["TOKEN_URL"]}, "AUTH_CODE"),
        ({"GRANT": "auth_code", "AUTH_CODE": SECRET}, "TOKEN_URL"),
        ({"AUTH_CODE": " ", "TOKEN_URL": USUAL["TOKEN_URL"]}, "AUTH_CODE"),
    ],
)
def test_each_grant_says_what_it_needs(environ: dict[str, str], missing: str):
    urls = {name: USUAL[name] for name in ("CHAT_API_URL", "EMBEDDING_API_URL")}
    found = problems({**urls, **environ})
    assert set(found) == {missing}
    assert found[missing].startswith("is missing")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"TOKEN_METHOD": "GET", "TOKEN_ENCODING": "form"}, "TOKEN_ENCODING"),
        ({"TOKEN_SECRET_IN": "header"}, "TOKEN_SECRET_AS"),
        ({"TOKEN_SECRET_IN": "header", "TOKEN_SECRET_AS": "content-length"}, "TOKEN_SECRET_AS"),
        ({"TOKEN_SECRET_IN": "basic"}, "TOKEN_SECRET_AS"),
        ({"TOKEN_ENCODING": "form", "TOKEN_FIELDS": '{"a": {}}'}, "TOKEN_FIELDS"),
        ({"GRANT": "client_credentials", "CLIENT_SECRET": "s"}, "CLIENT_ID"),
        ({"GRANT": "private_key_jwt", "PRIVATE_KEY": "k"}, "CLIENT_ID"),
        ({"GRANT": "token_exchange", "SUBJECT_TOKEN": "t", "CLIENT_SECRET": "s"}, "CLIENT_ID"),
    ],
)
def test_what_does_not_fit_together_is_told_by_name(environ: dict[str, str], name: str):
    assert set(problems({**USUAL, **environ})) == {name}


def test_mappings_of_the_configuration_file_are_taken_and_shown_by_their_names(tmp_path: Path):
    file = tmp_path / "mimic.yaml"
    file.write_text("token_fields: {tenant: 7, key: hidden}\ntoken_request_headers: {x-app: hidden}\n")
    found = settings(MIMIC_CONFIG=str(file))
    assert found.token_fields == (("tenant", 7), ("key", "hidden"))
    assert redacted(found)["TOKEN_FIELDS"] == {"tenant": "***", "key": "***"}
    assert "hidden" not in repr(found)


@pytest.mark.parametrize("more", [{"GRANT": "none"}, {"GRANT": "static", "ACCESS_TOKEN": "token"}])
def test_static_and_none_need_no_token_service(more: dict[str, str]):
    urls = {name: USUAL[name] for name in ("CHAT_API_URL", "EMBEDDING_API_URL")}
    assert load({**urls, **more}).token_url is None


@pytest.mark.parametrize(
    ("grant", "unused"),
    [
        ("auth_code", {"ACCESS_TOKEN", "PRIVATE_KEY_FILE", "REFRESH_TOKEN", "SUBJECT_TOKEN_FILE"}),
        (
            "client_credentials",
            {"ACCESS_TOKEN", "AUTH_CODE", "PRIVATE_KEY_FILE", "REFRESH_TOKEN", "SUBJECT_TOKEN_FILE"},
        ),
        ("private_key_jwt", {"ACCESS_TOKEN", "AUTH_CODE", "CLIENT_SECRET", "REFRESH_TOKEN", "SUBJECT_TOKEN_FILE"}),
        ("token_exchange", {"ACCESS_TOKEN", "AUTH_CODE", "PRIVATE_KEY_FILE", "REFRESH_TOKEN"}),
        ("refresh_token", {"ACCESS_TOKEN", "AUTH_CODE", "PRIVATE_KEY_FILE", "SUBJECT_TOKEN_FILE"}),
    ],
)
def test_credentials_that_a_grant_does_not_use_are_warned_of_once_each(grant: str, unused: set[str]):
    names = ("ACCESS_TOKEN", "CLIENT_ID", "CLIENT_SECRET", "SCOPE", "REFRESH_TOKEN")
    files = ("PRIVATE_KEY_FILE", "SUBJECT_TOKEN_FILE")
    if grant not in ("auth_code", "refresh_token"):
        unused = unused | {"TOKEN_STORE"}
    found = settings(GRANT=grant, TOKEN_STORE="store.json", **dict.fromkeys((*names, *files), SECRET))
    assert set(found.warnings) == {f"{name} is set, but GRANT={grant} does not use it" for name in unused}
    assert len(found.warnings) == len(unused)


@pytest.mark.parametrize("grant", ["static", "none"])
def test_grants_without_a_token_service_use_none_of_its_settings(grant: str):
    given = {"CLIENT_ID": "me", "TOKEN_POINTER": "a.b", "ASSERTION_AS": "grant", "SUBJECT_TOKEN_FILE": "/run/token"}
    warned = set(settings(GRANT=grant, ACCESS_TOKEN="t", **given).warnings)
    assert warned >= {f"{name} is set, but GRANT={grant} does not use it" for name in (*given, "AUTH_CODE")}


def test_an_unused_secret_is_warned_of_by_the_variable_that_names_its_file():
    warning = "SUBJECT_TOKEN_FILE is set, but GRANT=auth_code does not use it"
    assert settings(SUBJECT_TOKEN_FILE="/run/secret").warnings == (warning,)


def test_a_client_secret_counts_for_nothing_without_a_name():
    assert "without CLIENT_ID" in settings(CLIENT_SECRET_FILE="/run/secret").warnings[0]
    found = problems({**USUAL, "GRANT": "refresh_token", "REFRESH_TOKEN": SECRET, "CLIENT_SECRET": SECRET})
    assert set(found) == {"CLIENT_ID"}


def test_a_token_that_cannot_stand_in_a_header_is_refused():
    assert "printable ASCII" in problems({**USUAL, "GRANT": "static", "ACCESS_TOKEN": "two\nlines"})["ACCESS_TOKEN"]


def test_the_file_of_a_secret_may_come_later(tmp_path: Path):
    environ = {name: value for name, value in USUAL.items() if name != "AUTH_CODE"}
    found = load({**environ, "AUTH_CODE_FILE": str(tmp_path / "later")})
    assert found.auth_code == SecretRef("AUTH_CODE", file=tmp_path / "later")
    assert found.auth_code.configured
    assert redacted(found)["AUTH_CODE"] == f"(from {tmp_path / 'later'})"


def test_a_secret_and_its_file_in_one_source_contradict_each_other():
    assert "keep one" in problems({**USUAL, "AUTH_CODE_FILE": "/run/code"})["AUTH_CODE"]


def test_a_secret_in_a_stronger_source_replaces_the_file_in_a_weaker_one(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("AUTH_CODE_FILE=/run/code\n")
    assert load(USUAL, dotenv).auth_code == SecretRef("AUTH_CODE", SECRET)


def test_the_environment_wins_over_dotenv_and_dotenv_over_yaml(tmp_path: Path):
    (tmp_path / "mimic.yaml").write_text("port: 1001\nmax_queue: 1\nmodels: [a, b]\nverify_ssl: no\nidle_timeout: 2\n")
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"PORT=1002\nADMIN_PORT=1003\nMIMIC_CONFIG={tmp_path / 'mimic.yaml'}\n")
    found = load({**USUAL, "ADMIN_PORT": "1004"}, dotenv)
    assert (found.port, found.admin_port, found.max_queue) == (1002, 1004, 1)
    assert (found.models, found.verify_ssl, found.idle_timeout) == (("a", "b"), False, 2.0)


def test_an_empty_variable_counts_as_not_set(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=1002\n")
    assert load({**USUAL, "PORT": "", "MODELS": " "}, dotenv).port == 1002


def test_dotenv_takes_quotes_comments_export_and_plain_dollars(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"\xef\xbb\xbf# comment\r\nexport AUTH_CODE='pa$$${HOME}'\r\nSCOPE=\"a b\" # why\r\nEMPTY\r\n")
    environ = {name: value for name, value in USUAL.items() if name != "AUTH_CODE"}
    found = load(environ, dotenv)
    assert found.auth_code == SecretRef("AUTH_CODE", "pa$$${HOME}")
    assert found.scope == "a b"


def test_a_broken_line_of_dotenv_is_told_by_its_number_alone(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"PORT=1\nAUTH_CODE '{SECRET}'\n")
    with pytest.raises(SettingsError) as caught:
        load(USUAL, dotenv)
    assert "line 2 is not NAME=value" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_dotenv_that_is_not_there_is_none(tmp_path: Path):
    assert load(USUAL, tmp_path / ".env") == settings()


def test_a_dotenv_in_another_encoding_is_a_problem(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"AUTH_CODE=\xff\xfe\n")
    assert problems(dict(USUAL), dotenv) == {str(dotenv): "cannot be read (not UTF-8)"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"port: [1, 2\nauth_code: {SECRET}\n", "not valid YAML, line"),
        (f"- {SECRET}\n", "`name: value`"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_broken_configuration_file_is_a_problem(tmp_path: Path, text: str | None, said: str):
    config = tmp_path / "mimic.yaml"
    if text is not None:
        config.write_text(text)
    found = problems({**USUAL, "MIMIC_CONFIG": str(config)})
    assert said in found["MIMIC_CONFIG"]
    assert SECRET not in found["MIMIC_CONFIG"]


def test_values_of_the_configuration_file_are_checked_like_variables(tmp_path: Path):
    config = tmp_path / "mimic.yaml"
    config.write_text("port: {a: 1}\nadmin_port: true\nauth_code: [1]\nmax_queue: -1\nscope: null\n")
    environ = {name: value for name, value in USUAL.items() if name != "AUTH_CODE"}
    found = problems({**environ, "MIMIC_CONFIG": str(config)})
    assert set(found) == {"PORT", "ADMIN_PORT", "AUTH_CODE", "MAX_QUEUE"}


def test_unknown_keys_of_the_configuration_file_only_warn(tmp_path: Path):
    config = tmp_path / "mimic.yaml"
    config.write_text("max_quue: 5\nfrom_the_future: {a: [1]}\n")
    found = settings(MIMIC_CONFIG=str(config))
    assert found.max_queue == DEFAULTS["MAX_QUEUE"]
    assert len(found.warnings) == 2
    assert "'max_quue' is no setting" in found.warnings[0]
    assert "did you mean max_queue?" in found.warnings[0]


def test_an_empty_configuration_file_sets_nothing(tmp_path: Path):
    config = tmp_path / "mimic.yaml"
    config.write_text("# later\n")
    assert settings(MIMIC_CONFIG=str(config)) == settings()


def test_unknown_variables_are_none_of_our_business():
    assert settings(HOSTNAME="web-1", PORTS="1", LANG="C") == settings()


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy"])
def test_proxy_variables_in_lower_case_count_first_and_empty_ones_switch_off(name: str):
    upper = {name.upper(): "http://upper:1"}
    assert getattr(settings(**upper), name) == "http://upper:1"
    assert getattr(settings(**upper, **{name: "http://lower:1"}), name) == "http://lower:1"
    assert getattr(settings(**upper, **{name: ""}), name) is None


def test_keys_need_their_certificate(tmp_path: Path):
    key = tmp_path / "key.pem"
    key.touch()
    assert problem("CLIENT_KEY", str(key)) == "needs CLIENT_CERT"
    assert problem("TLS_KEY", str(key)) == "needs TLS_CERT"
    found = settings(CLIENT_CERT=str(key), TLS_CERT=str(key), TLS_KEY=str(key))
    assert (found.client_cert, found.tls_cert, found.tls_key) == (key, key, key)


def test_whoever_has_no_files_says_what_is_there():
    found = load({**USUAL, "CA_BUNDLE": "/etc/mimic/ca.pem"}, is_file=lambda path: True)
    assert found.ca_bundle == Path("/etc/mimic/ca.pem")


def test_overrides_count_first_and_take_away():
    found = load({**USUAL, "PORT": "1", "MODELS": "a"}, overrides={"PORT": "2", "MODELS": None, "AUTH_CODE": "other"})
    assert (found.port, found.models) == (2, ())
    assert found.auth_code == SecretRef("AUTH_CODE", "other")


def test_an_overriding_secret_replaces_a_file():
    environ = {name: value for name, value in USUAL.items() if name != "AUTH_CODE"}
    found = load({**environ, "AUTH_CODE_FILE": "/run/code"}, overrides={"AUTH_CODE": "other"})
    assert found.auth_code == SecretRef("AUTH_CODE", "other")


def test_defaults_of_a_command_count_last():
    assert load(USUAL, defaults={"LOG_FORMAT": "console"}).log_format == "console"
    assert load({**USUAL, "LOG_FORMAT": "json"}, defaults={"LOG_FORMAT": "console"}).log_format == "json"


def test_the_admin_port_is_found_without_the_other_settings(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("ADMIN_PORT=9001\n")
    assert load_port("ADMIN_PORT", {}, dotenv) == 9001
    assert load_port("ADMIN_PORT", {"ADMIN_PORT": "9002"}, dotenv) == 9002
    assert load_port("ADMIN_PORT", {}) == 8001
    with pytest.raises(SettingsError, match="ADMIN_PORT"):
        load_port("ADMIN_PORT", {"ADMIN_PORT": "many"})


@given(st.dictionaries(st.sampled_from(sorted(NAMES.all)), st.text(max_size=40)))
def test_whatever_the_variables_hold_the_answer_is_settings_or_problems(environ: dict[str, str]):
    assert {found.name for found in wrong({**USUAL, **environ})} <= NAMES.all

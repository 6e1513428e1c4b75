"""Assertions that are signed, and keys in all their forms."""

import base64
import datetime
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mimic_proxy.tokens.assertion import Assertion, read_key

NOW = 1_700_000_000.7
RSA = rsa.generate_private_key(65537, 2048)
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def assertion(**more: Any) -> Assertion:
    made = {"issuer": "me", "audience": "https://t.example/token", "lifetime": 60.0, "identify": lambda: "id-1"}
    return Assertion(**{**made, **more})


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (P256, "ES256"), (P384, "ES384"), (ED, "EdDSA")],
    ids=("RS256", "ES256", "ES384", "EdDSA"),
)
def test_the_algorithm_fits_the_key_and_the_signature_is_right(key: Any, algorithm: str) -> None:
    token = assertion(key_id="k-1")(pem(key), NOW)
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": "k-1", "typ": "JWT"}
    assert jwt.decode(
        token,
        key.public_key(),
        algorithms=[algorithm],
        audience="https://t.example/token",
        options={"verify_exp": False},
    ) == {
        "iss": "me",
        "sub": "me",
        "aud": "https://t.example/token",
        "iat": 1_699_999_990,
        "exp": 1_700_000_050,
        "jti": "id-1",
    }


def test_an_rsa_signature_stands_without_the_library_that_made_it() -> None:
    head, body, signature = assertion()(pem(RSA), NOW).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    RSA.public_key().verify(raw, f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())


def test_each_assertion_has_an_id_of_its_own() -> None:
    maker = Assertion(issuer="me", audience="a", lifetime=60.0)
    assert claims(maker(pem(P256), NOW))["jti"] != claims(maker(pem(P256), NOW))["jti"]


def test_claims_are_added_replaced_and_taken_away() -> None:
    found = claims(assertion(claims=(("sub", None), ("scope", "a b"), ("iss", "you"), ("n", 1)))(pem(P256), NOW))
    assert (found["scope"], found["iss"], found["n"], "sub" in found) == ("a b", "you", 1, False)


def test_a_key_file_of_google_tells_name_and_id() -> None:
    file = {"type": "service_account", "private_key": pem(RSA), "private_key_id": "g-1", "client_email": "robot@p.iam"}
    token = assertion(issuer=None)(json.dumps(file), NOW)
    assert jwt.get_unverified_header(token)["kid"] == "g-1"
    assert claims(token)["iss"] == "robot@p.iam"
    assert claims(assertion(issuer="me")(json.dumps(file), NOW))["iss"] == "me"


def test_a_key_file_of_yandex_cloud_has_words_before_its_key() -> None:
    preamble = "PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <y-1>\n"
    file = {"id": "y-1", "service_account_id": "aje1", "private_key": preamble + pem(RSA)}
    token = assertion(issuer=None, algorithm="PS256")(json.dumps(file), NOW)
    assert jwt.get_unverified_header(token) == {"alg": "PS256", "kid": "y-1", "typ": "JWT"}
    assert claims(token)["iss"] == "aje1"


def test_a_jwk_is_a_key_with_an_id() -> None:
    document = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(P256)) | {"kid": "j-1"}
    token = assertion()(json.dumps(document), NOW)
    assert jwt.get_unverified_header(token)["kid"] == "j-1"
    jwt.decode(token, P256.public_key(), algorithms=["ES256"], options={"verify_exp": False, "verify_aud": False})


def test_a_certificate_beside_the_key_gives_its_thumbprints() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mimic")])
    day = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA.public_key()).serial_number(1)
    certificate = made.not_valid_before(day).not_valid_after(day.replace(year=2043)).sign(RSA, hashes.SHA256())
    header = read_key(certificate.public_bytes(Encoding.PEM).decode() + pem(RSA)).header
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    assert header["x5t#S256"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert header.keys() == {"x5t", "x5t#S256"}


@pytest.mark.parametrize(
    "text",
    [
        pem(RSA, PrivateFormat.TraditionalOpenSSL),
        pem(P256, PrivateFormat.TraditionalOpenSSL),
        pem(P256).replace("\n", "\r\n"),
        pem(P256).strip().replace("\n", "\\n"),
        f"\ufeffsome words\n{pem(P256)}",
    ],
    ids=range(5),
)
def test_a_key_is_read_in_every_usual_form(text: str) -> None:
    assert read_key(text).algorithm in ("RS256", "ES256")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no private key in PEM"),
        ("hunter2", "holds no private key in PEM"),
        (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), "no private key"),
        (
            RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")).decode(),
            "a passphrase protects",
        ),
        (pem(RSA)[:200] + pem(RSA)[-60:], "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "holds no private key"),
        ('{"kty":"oct","k":"AAAA"}', "is JSON and neither"),
        ('{"private_key": 7}', "is JSON and neither"),
        (json.dumps(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(P256.public_key()))), "is JSON and neither"),
        (pem(ec.generate_private_key(ec.SECP192R1())), "signs no assertions"),
    ],
    ids=range(11),
)
def test_what_is_no_key_is_told_without_being_quoted(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        assertion()(text, NOW)
    assert "hunter2" not in str(refused.value)


def test_a_key_and_an_algorithm_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="ASSERTION_ALGORITHM must fit the key"):
        assertion(algorithm="ES256")(pem(RSA), NOW)
    with pytest.raises(ValueError, match="ASSERTION_ALGORITHM must fit the key"):
        assertion(algorithm="RS256")(pem(P256), NOW)


def test_a_key_that_names_nobody_asks_for_the_client() -> None:
    with pytest.raises(ValueError, match="set CLIENT_ID"):
        assertion(issuer=None)(pem(P256), NOW)

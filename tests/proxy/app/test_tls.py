"""TLS contexts: what is checked, what is not, and that changed files are read again."""

import ssl
from pathlib import Path

import pytest
import trustme

from mimic_proxy.app.tls import ClientTLS, client_context, server_context
from mimic_proxy.settings.fields import Settings


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """A CA bundle, a certificate chain, its key, a key of another certificate, and a file of nonsense."""
    leaf, other = authority.issue_cert("localhost"), authority.issue_cert("other.test")
    made = {name: tmp_path / name for name in ("ca", "chain", "key", "other_key", "nonsense", "both")}
    authority.cert_pem.write_to_path(str(made["ca"]))
    leaf.cert_chain_pems[0].write_to_path(str(made["chain"]))
    leaf.private_key_pem.write_to_path(str(made["key"]))
    other.private_key_pem.write_to_path(str(made["other_key"]))
    leaf.private_key_and_cert_chain_pem.write_to_path(str(made["both"]))
    made["nonsense"].write_text("no certificate")
    return made


def settings(**more: object) -> Settings:
    urls = {"chat_api_url": "https://models.test/v1", "embedding_api_url": "https://models.test/v1"}
    return Settings(**urls, **more)  # type: ignore[arg-type]


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """Both sides in memory; the client's side after the handshake."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_hostname=name)
    there = server.wrap_bio(up, down, server_side=True)
    done = set[ssl.SSLObject]()
    while len(done) < 2:
        for side in (here, there):
            if side not in done:
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    continue
    return here


def test_a_bundle_alone_is_trusted_and_names_are_checked(files: dict[str, Path]) -> None:
    server = server_context(files["chain"], files["key"])
    client = client_context(settings(ca_bundle=files["ca"]))
    done = handshake(client, server)
    assert done.selected_alpn_protocol() == "http/1.1"
    assert done.version() in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(client, server, "other.test")


def test_an_unknown_authority_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_context(settings()), server_context(files["chain"], files["key"]))


def test_without_verification_name_and_chain_are_not_checked(files: dict[str, Path]) -> None:
    client = client_context(settings(verify_ssl=False))
    assert handshake(client, server_context(files["chain"], files["key"]), "other.test").version()


def test_a_client_certificate_is_shown_when_asked_for(files: dict[str, Path], authority: trustme.CA) -> None:
    server = server_context(files["chain"], files["key"])
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    with_key = client_context(settings(ca_bundle=files["ca"], client_cert=files["chain"], client_key=files["key"]))
    assert handshake(with_key, server).version()
    in_one = client_context(settings(ca_bundle=files["ca"], client_cert=files["both"]))
    assert handshake(in_one, server).version()
    without = client_context(settings(ca_bundle=files["ca"]))
    without.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(without, server)


@pytest.mark.parametrize(
    "names",
    [
        {"ca_bundle": "nonsense"},
        {"ca_bundle": "missing"},
        {"client_cert": "nonsense"},
        {"client_cert": "chain"},
        {"client_cert": "chain", "client_key": "other_key"},
        {"client_cert": "chain", "client_key": "missing"},
    ],
)
def test_files_that_cannot_be_used_raise_oserror(files: dict[str, Path], names: dict[str, str]) -> None:
    found = {name: files.get(file, Path("/nowhere/missing.pem")) for name, file in names.items()}
    with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError, FileNotFoundError and their like, with words of the library
        client_context(settings(**found))


@pytest.mark.parametrize(("chain", "key"), [("nonsense", None), ("chain", "other_key"), ("chain", None)])
def test_a_server_certificate_that_cannot_be_used_raises_oserror(
    files: dict[str, Path], chain: str, key: str | None
) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        server_context(files[chain], None if key is None else files[key])


def test_a_context_is_built_when_it_is_first_needed_and_once() -> None:
    built: list[ssl.SSLContext] = []

    def build() -> ssl.SSLContext:
        built.append(ssl.create_default_context())
        return built[-1]

    tls = ClientTLS(build)
    assert built == []
    assert (tls(), tls()) == (built[0], built[0])
    tls.reload()
    assert (tls(), len(built)) == (built[1], 2)


def test_a_context_that_cannot_be_built_again_stays_the_old_one() -> None:
    def build() -> ssl.SSLContext:
        if broken:
            raise OSError("no certificate")
        return ssl.create_default_context()

    broken = False
    tls = ClientTLS(build)
    before = tls()
    broken = True
    with pytest.raises(OSError, match="no certificate"):
        tls.reload()
    assert tls() is before

"""The webhook's own authority and leaf, made and renewed here; who stores and spreads them is the reconciler.

Two authorities overlap while one follows the other: the API server trusts both until the last leaf of the old one has
ended, so that no webhook process has to change at the same moment as the configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS, LEAF_DAYS = 3650, 90
RENEW_AT = 2 / 3
"""Of a certificate's life, after which the next one is made."""
SKEW = timedelta(minutes=5)
"""By which the clocks of a cluster may differ."""


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A certificate and its key, both PEM. The key stands in no repr."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Pair(ends={ends(self.certificate):%Y-%m-%d})"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the Secret holds. retired: older authorities whose leaves may still be served, PEM, newest first."""

    authority: Pair
    leaf: Pair
    retired: tuple[bytes, ...] = ()

    @property
    def bundle(self) -> bytes:
        """What the API server is to trust: the caBundle."""
        return b"".join((self.authority.certificate, *self.retired))


def renewed(
    current: Certificates | None, names: Sequence[str], now: datetime, trusted: Sequence[bytes] = ()
) -> Certificates:
    """What is to be stored now: `current` itself as long as it is good.

    names: of the webhook's Service, the first is the common name. A damaged or foreign pair is made anew.
    trusted: authorities that the API server trusts, PEM, newest first: where nothing is stored, running webhooks may
    still serve leaves of theirs.
    """
    if current is None or not _belongs(current.authority, None) or _is_due(current.authority.certificate, now):
        authority = make_authority(now)
        older = (current.authority.certificate, *current.retired) if current else trusted
        retired = _still_needed(authority, older, now)
        return Certificates(authority, make_leaf(authority, names, now), retired)
    retired = _still_needed(current.authority, current.retired, now)
    good = _belongs(current.leaf, current.authority) and _names(current.leaf.certificate) == set(names)
    leaf = current.leaf if good and not _is_due(current.leaf.certificate, now) else None
    if leaf is not None and retired == current.retired:
        return current
    return Certificates(current.authority, leaf or make_leaf(current.authority, names, now), retired)


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """Names by which the API server calls a Service."""
    return tuple(f"{service}.{namespace}.{rest}" for rest in ("svc", "svc.cluster.local"))


def make_authority(now: datetime) -> Pair:
    """An authority that signs leaves and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mimic-webhook-ca-{now:%Y%m%d%H%M%S}")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder(name, name, key.public_key(), now, timedelta(days=AUTHORITY_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return _signed(builder.add_extension(identifier, critical=False), key, key)


def make_leaf(authority: Pair, names: Sequence[str], now: datetime, days: float = LEAF_DAYS) -> Pair:
    """A server certificate for `names`, never beyond its authority's own end."""
    issuer, issuer_key = _certificate(authority.certificate), _key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    life = min(timedelta(days=days), issuer.not_valid_after_utc - now)
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(common, issuer.subject, key.public_key(), now, life)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return _signed(builder.add_extension(identifier, critical=False), key, issuer_key)


def ends(certificate: bytes) -> datetime:
    """When a PEM certificate ends, UTC. Raises ValueError if it is none."""
    return _certificate(certificate).not_valid_after_utc


def _still_needed(authority: Pair, older: Sequence[bytes], now: datetime) -> tuple[bytes, ...]:
    """Those of `older`, newest first, whose leaves may still be served: the last was signed before its successor."""
    kept = []
    successor = _certificate(authority.certificate)
    for pem in older:
        try:
            certificate = _certificate(pem)
        except ValueError:
            continue
        last_leaf = successor.not_valid_before_utc + SKEW + timedelta(days=LEAF_DAYS)
        if now < min(certificate.not_valid_after_utc, last_leaf + SKEW):
            kept.append(pem)
        successor = certificate
    return tuple(kept)


def _is_due(certificate: bytes, now: datetime) -> bool:
    found = _certificate(certificate)
    begun = found.not_valid_before_utc
    return now >= begun + (found.not_valid_after_utc - begun) * RENEW_AT or now < begun


def _belongs(pair: Pair, authority: Pair | None) -> bool:
    """Whether key and certificate are one, and were signed by the authority; None: by themselves."""
    try:
        certificate, key = _certificate(pair.certificate), _key(pair.key)
        certificate.verify_directly_issued_by(_certificate((authority or pair).certificate))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return certificate.public_key() == key.public_key()


def _names(certificate: bytes) -> set[str]:
    found = _certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now.astimezone(UTC) - SKEW).not_valid_after(now.astimezone(UTC) + life)


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey) -> Pair:
    certificate = builder.sign(by, hashes.SHA256())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(encoding, form, serialization.NoEncryption())
    return Pair(certificate.public_bytes(encoding), private)


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError for any other kind of key."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of this operator")
    return key

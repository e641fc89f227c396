"""Certificates of tests, good and bad."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(
    folder: Path,
    *names: str,
    expired: bool = False,
    authority: bool = False,
    signed_by: Path | None = None,
) -> Path:
    """A PEM file with a new key and its certificate for these names and addresses; signed by itself, or by the key
    in another such file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    signer: ec.EllipticCurvePrivateKey = key
    if signed_by is not None:
        pem = signed_by.read_bytes()
        issuer = x509.load_pem_x509_certificate(pem).subject
        signer = serialization.load_pem_private_key(pem, None)
    end = datetime.now(UTC) + timedelta(days=-1 if expired else 30)
    made = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - timedelta(days=60))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_named(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    place = folder / f"{made.serial_number:x}.pem"
    place.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return place


def _named(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

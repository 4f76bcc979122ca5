"""The cluster's own certificate authority and its ssh key pair."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from armillary.files import write, write_secret
from armillary.paths import ClusterPaths

CA_DAYS = 3650


def ensure_ca(paths: ClusterPaths, cluster: str) -> None:
    """Make the certificate authority (P-256, ten years) unless it is there."""
    key_file, certificate_file = paths.pki / "ca.key", paths.pki / "ca.crt"
    if key_file.exists() and certificate_file.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Armillary cluster {cluster}")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_secret(
        key_file,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )
    write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM).decode())


def ensure_ssh_key(paths: ClusterPaths, cluster: str) -> str:
    """Make the key pair Ansible and `invoke ssh` use, unless it is there; return the public key."""
    public_file = paths.private_key.with_suffix(".pub")
    if not (paths.private_key.exists() and public_file.exists()):
        key = ed25519.Ed25519PrivateKey.generate()
        write_secret(
            paths.private_key,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            ).decode(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        write(public_file, f"{public.decode()} armillary-{cluster}\n")
    return public_file.read_text().strip()

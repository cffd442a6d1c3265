"""A certificate authority for one proxy: made when it opens, trusted by whom it is told to, gone when it closes."""

from __future__ import annotations

import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority"]

_LIFETIME = timedelta(days=365)


class Authority:
    """Signs a certificate for each host that is asked for.

    The authority's own key stays in memory. The key of the hosts, which they share, must be a file for
    Python's ``ssl``; only this user may read it (mode 0600).

    Args:
        folder: Where its files go; whoever made the folder removes it.

    Attributes:
        file: Its own certificate (PEM), for clients to trust.
    """

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        self._folder = folder
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._hosts_key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign_itself()
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self._key_file = folder / "hosts.key"
        pem = self._hosts_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)

    def context(self, host: str) -> ssl.SSLContext:
        """What a server needs to speak TLS as this host."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._context(host)
            return self._contexts[host]

    def _context(self, host: str) -> ssl.SSLContext:
        from cryptography.hazmat.primitives.serialization import Encoding

        file = self._folder / f"{len(self._contexts)}.pem"
        file.write_bytes(self._sign(host).public_bytes(Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(file, self._key_file)
        return context

    # Python 3.13 checks strictly (RFC 5280): both key identifiers, and an authority that says what it may do.
    def _sign_itself(self) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        name = x509.Name(
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, "phi-finetune fake of Azure, not a real authority")]
        )
        public = self._key.public_key()
        use = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return (
            _builder(public)
            .subject_name(name)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(use, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, SHA256())
        )

    def _sign(self, host: str) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509.oid import ExtendedKeyUsageOID

        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return (
            _builder(self._hosts_key.public_key())
            # A name has room for 64 characters, a host for more; clients read the extension alone (RFC 6125).
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(server, critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, SHA256())
        )


def _builder(public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    from cryptography import x509

    # The machine's clock, not the emulator's: it is the client's TLS that compares.
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
    )

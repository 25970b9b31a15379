"""Make the certificate with which a page on this machine is a secure one for other machines; it is kept in the cache.

A browser gives a camera, threads and a GPU only to a secure page: ``https``, or ``http`` on the machine itself.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg._internal.files import atomic_path, cache_folder, write_bytes
from edgeseg.errors import InputError, missing_extra
from edgeseg.http.server import own_addresses

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Days that a certificate is valid. Apple's browsers refuse one of more than 825.
_DAYS = 365


def tls_context() -> tuple[ssl.SSLContext, str]:
    """Return what a server needs to speak TLS, and the fingerprint to compare with the one that a browser shows.

    Returns:
        The context, and the SHA-256 of the certificate in pairs of hexadecimal digits with colons.

    Raises:
        BackendUnavailable: the package ``cryptography`` is not installed.
        InputError: the cache cannot be written.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
    except ImportError as error:
        raise missing_extra("a page over https", "web") from error
    host = [name for name in (socket.gethostname(),) if name.isascii()]  # a certificate has no other names
    names = sorted({"localhost", *host, "127.0.0.1", "::1", *own_addresses()})
    folder = cache_folder() / "web"
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate = None
    if certificate_file.is_file() and key_file.is_file():
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except ValueError:  # a damaged one is made again
            certificate = None
        except OSError as error:
            raise InputError(f"'{certificate_file}' cannot be read: {error.strerror}.") from error
    if certificate is None or not _fits(certificate, names):
        certificate = _make(certificate_file, key_file, names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"'{certificate_file}' cannot be used: {error}. Remove it and its key.") from error
    digest = certificate.fingerprint(hashes.SHA256()).hex().upper()
    return context, ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _fits(certificate: Certificate, names: list[str]) -> bool:
    """Return whether a certificate is valid for another week, for all names."""
    from cryptography import x509

    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=7)
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return certificate.not_valid_after_utc > soon and {str(entry.value) for entry in alternatives} >= set(names)


def _make(certificate_file: Path, key_file: Path, names: list[str]) -> Certificate:
    """Write a certificate that signs itself, and its key, which only this user can read."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgeseg on this machine")])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives: list[x509.GeneralName] = []
    for each in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(each)))
        except ValueError:
            alternatives.append(x509.DNSName(each))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # a phone's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with atomic_path(key_file, overwrite=True) as temporary:
        temporary.chmod(0o600)
        temporary.write_bytes(private)
    write_bytes(certificate_file, certificate.public_bytes(pem), overwrite=True)
    return certificate

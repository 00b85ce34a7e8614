"""`segsearch serve` with keys, TLS and `--check`, as processes."""

import datetime
import ipaddress
import json
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from segsearch.service.connection import Connection
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from tests.integration.test_serving_commands import command, server

TIMEOUT_S = 120


class Authority:
    """Signs certificates for the tests."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = folder / "ca.pem"
        signed = self._signed(self.name, self.key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _signed(self, subject, key, extensions) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        made = x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(self.key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate for 127.0.0.1 and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key, [(address, False)]).public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key_file


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def checked(index, bundle, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`segsearch serve --check` with these options."""
    import os

    arguments = command("serve", "--index", index.root, "--bundle", bundle.directory, "--check", *options)
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env={**os.environ, **environment}
    )


def test_check_does_everything_but_listen(index, tiny_bundle, tmp_path, authority):
    add_key(tmp_path / "keys", make_key("anna", Scope.read)[1])
    certificate, key = authority.issue("checked")
    done = checked(
        index, tiny_bundle, "--host", "0.0.0.0", "--batch", 8, "--threads", 1,
        SEGSEARCH_KEYS=str(tmp_path / "keys"), SEGSEARCH_TLS_CERTIFICATE=str(certificate), SEGSEARCH_TLS_KEY=str(key),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["event"], told["keys"], told["tls"]) == ("checked", True, True)


def test_check_names_what_is_wrong_and_fails(index, tiny_bundle, tmp_path):
    (tmp_path / "keys").write_text("anna root x\n")
    for options, wanted in (
        (("--host", "0.0.0.0"), "--keys, or --allow-open"),
        (("--keys", tmp_path / "keys"), "line 1: scope 'root'"),
    ):
        done = checked(index, tiny_bundle, *options, "--batch", 8, "--threads", 1)
        assert (done.returncode, done.stdout) == (1, "")
        assert wanted in done.stderr
        assert "Traceback" not in done.stderr


def test_a_server_with_mutual_tls_answers_clients_of_its_authority_alone(index, tiny_bundle, authority):
    certificate, key = authority.issue("server")
    options = ("--tls-certificate", certificate, "--tls-key", key, "--tls-client-ca", authority.file, "--batch", 8)
    with server(index, tiny_bundle, *options) as (url, _):
        assert url.startswith("https://127.0.0.1:")
        known = ssl.create_default_context(cafile=authority.file)
        known.load_cert_chain(*authority.issue("client"))
        assert httpx.get(f"{url}/search", params={"tag": "Rain"}, verify=known).status_code == 200
        nobody = ssl.create_default_context(cafile=authority.file)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/livez", verify=nobody)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url.replace('https', 'http')}/livez")


def test_a_client_that_does_not_begin_with_tls_is_let_go_as_one_without_a_request(index, tiny_bundle, authority):
    certificate, key = authority.issue("server")
    options = ("--tls-certificate", certificate, "--tls-key", key, "--batch", 8)
    with server(index, tiny_bundle, *options) as (url, _):
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port), timeout=3 * Connection.head_timeout_s) as silent:
            assert silent.recv(1) == b""


def test_an_open_server_says_so(index, tiny_bundle):
    done = checked(index, tiny_bundle, "--host", "0.0.0.0", "--allow-open", "--batch", 8, "--threads", 1)
    assert done.returncode == 0
    assert "listening on 0.0.0.0 without keys" in done.stderr

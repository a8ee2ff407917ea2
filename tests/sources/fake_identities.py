"""A fake of the services that give a job on a cloud its credentials, and of Azure's listings.

It speaks of each service only what the clients ask for.
"""

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from sources.stores import Certificate

_END = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
_ROLE = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "LastUpdated": _END,
    "AccessKeyId": "KROLE",
    "SecretAccessKey": "s3cr3t",
    "Token": "session",
    "Expiration": _END,
}
_STS = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>KWEB</AccessKeyId>
<SecretAccessKey>s3cr3t</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>{_END}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_BEARER = {"access_token": "bearer", "token_type": "Bearer", "expires_in": 3600}
_BLOBS = f"""<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs><Blob>
<Name>a.gz</Name><Properties><Last-Modified>{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT
</Last-Modified><Content-Length>3</Content-Length><Content-Type>x/x</Content-Type><Etag>1</Etag></Properties></Blob></Blobs>
<NextMarker/></EnumerationResults>""".replace("\n", "")


class _Handler(BaseHTTPRequestHandler):
    def _asked(self) -> tuple[str, dict[str, str]]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        url = urlsplit(self.path)
        said = parse_qs(url.query) | parse_qs(body)
        asked = {name: values[0] for name, values in said.items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((url.path, headers | asked))  # type: ignore[attr-defined]
        return url.path, asked

    def _answer(self, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        self._asked()
        self._answer("metadata-token")

    def do_POST(self) -> None:
        _, asked = self._asked()
        self._answer(_STS if "WebIdentityToken" in asked else json.dumps(_BEARER))

    def do_GET(self) -> None:
        path, asked = self._asked()
        if asked.get("comp") == "list":
            self._answer(_BLOBS)
        elif path.endswith("/security-credentials/"):
            self._answer("the-role")
        elif "resource" in asked or "computeMetadata" in path:
            self._answer(json.dumps(_BEARER | {"expires_on": "4102444800"}))
        else:
            self._answer(json.dumps(_ROLE))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class FakeIdentities:
    """A server on a port of its own; used in a `with`."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        # Path, and the headers and parameters of each request.
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._server.asked = self.asked  # type: ignore[attr-defined]
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.file, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http{'s' * (certificate is not None)}://{self.host}"

    def __enter__(self) -> "FakeIdentities":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

"""A destination in a process of its own: it keeps what it accepts, and fails as it is told.

`python receiving.py PORT FILE FAILURES [CERTIFICATE KEY]`, where FAILURES is
`STATUS=SHARE,...`; the shares of `drop` (hangs up before it accepts), `lose` (accepts and hangs
up) and `slow` are failures, too.
A batch with an event called Poison is refused with 400. What is accepted is a line in FILE: the
ids, the headers and the body.
"""

import json
import os
import random
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DELAY = 0.3


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fault = self.server.choose()
        if fault == "drop":
            self.hang_up()
        elif fault == "slow":
            time.sleep(DELAY)
            self.accept(body)
        elif fault == "lose" and b'"Poison"' not in body:
            self.server.keep(self, body)
            self.hang_up()
        elif fault is not None and fault.isdigit():
            self.answer(int(fault))
        else:
            self.accept(body)

    def accept(self, body: bytes) -> None:
        if b'"Poison"' in body:
            self.answer(400)
        else:
            self.server.keep(self, body)
            self.answer(200)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "2")
        if status == 429:
            self.send_header("retry-after", "0")
        if 300 <= status < 400:
            self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True


class Destination(ThreadingHTTPServer):
    """The server."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, file: Path, failures: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        named = [one.partition("=") for one in failures.split(",") if one]
        self.failures = [(name, float(share)) for name, _, share in named]
        self.random = random.Random(7)

    def choose(self) -> str | None:
        """What goes wrong this time."""
        at = self.random.random()
        for name, share in self.failures:
            if at < share:
                return name
            at -= share
        return None

    def keep(self, handler: Handler, body: bytes) -> None:
        """Have the calls; one write, so that a kill leaves no part of it."""
        parsed = json.loads(body)
        calls = parsed["batch"] if isinstance(parsed, dict) else parsed
        headers = {key.lower(): value for key, value in handler.headers.items()}
        kept = {"ids": [call["messageId"] for call in calls], "headers": headers}
        os.write(self.file, json.dumps(kept | {"body": body.decode()}).encode() + b"\n")


if __name__ == "__main__":
    port, file, failures, *certificate = sys.argv[1:]
    server = Destination(int(port), Path(file), failures)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()

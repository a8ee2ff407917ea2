"""How many events a receiver takes: one process, with who sends them on the same machine.

`python -m bench.receive [SECONDS]` prints a line for each measurement: single calls at 64
connections, batches of 100, and beside them how long a bare loop of writes and syncs takes.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import psutil
import uvloop

from loader.spool import finished
from samples import generate

_KEY, _CONNECTIONS, _BATCH = "wk", 64, 100
_SECONDS = 5.0
# Ready requests are sent again and again: who sends has to be faster than who receives.
_READY = 200


def main() -> None:
    """Measure, and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else _SECONDS
    lines = b"".join(generate(20 * _BATCH, shape="segment")).splitlines()
    texts = [json.dumps(_as_a_client(json.loads(line))).encode() for line in lines]
    singles = [_request("track", text) for text in texts[:_READY]]
    batches = [
        _request("batch", b'{"batch":[' + b",".join(texts[n : n + _BATCH]) + b"]}")
        for n in range(0, len(texts), _BATCH)
    ]
    with tempfile.TemporaryDirectory() as made, get_context("spawn").Pool(1) as sender:
        _show("bare write and sync", *_bare_loop(Path(made), len(texts[0]), seconds), events=1)
        for name, requests, events in (("single calls", singles, 1), ("batches", batches, _BATCH)):
            folder = Path(made) / name
            folder.mkdir()
            measured, peak = _receive(sender, folder, requests, seconds)
            _show(name, measured, seconds, events=events)
            lines = sum(_lines(file.path) for file in finished(folder / "spool", "customerio"))
            if lines != events * len(measured):
                raise SystemExit(f"bench: {lines} lines, {events * len(measured)} answered")
            print(f"{name}: {peak / 1e6:.0f} MB of memory at most", flush=True)


def _as_a_client(call: dict[str, object]) -> dict[str, object]:
    """What a client sends of a call: other times are said by the batch, or by who receives it."""
    left_out = ("receivedAt", "sentAt", "originalTimestamp")
    return {key: value for key, value in call.items() if key not in left_out}


def _request(kind: str, body: bytes) -> bytes:
    head = (
        f"POST /v1/{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Basic {b64encode(f'{_KEY}:'.encode()).decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _receive(
    sender: Pool, folder: Path, requests: list[bytes], seconds: float
) -> tuple[list[float], int]:
    """The seconds that each answer took, and the most memory that the receiver had."""
    hashed = hashlib.sha256(_KEY.encode()).hexdigest()
    (folder / "loader.toml").write_text(
        f'spool_dir = "spool"\nspool_min_free = 0\n'
        f'[[source]]\nname = "Customer.io"\nwrite_keys = ["sha256:{hashed}"]\n'
    )
    command = [sys.executable, "-m", "loader", "receive", "--port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = int(process.stderr.readline().rpartition(" ")[2])
    process.stderr.readline()
    sending = sender.apply_async(send, (port, requests, seconds))
    peak = 0
    while not sending.ready():
        peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        sending.wait(0.05)
    process.terminate()
    process.communicate()
    return sending.get(), peak


def send(port: int, requests: list[bytes], seconds: float) -> list[float]:
    """Send on all connections; the seconds that each answer took."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_send(port, requests, seconds))


async def _send(port: int, requests: list[bytes], seconds: float) -> list[float]:
    end = time.perf_counter() + seconds
    took: list[float] = []
    loop = asyncio.get_running_loop()
    senders = [
        (
            await loop.create_connection(
                lambda n=n: _Sender(requests, n, end, took), "127.0.0.1", port
            )
        )
        for n in range(_CONNECTIONS)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in senders))
    return took


class _Sender(asyncio.Protocol):
    """One connection: a request after the answer to the one before."""

    def __init__(self, requests: list[bytes], first: int, end: float, took: list[float]) -> None:
        self._requests, self._at, self._end, self._took = requests, first, end, took
        self._began = 0.0
        self._answer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"}"):
            return
        if not self._answer.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(self._answer.decode()))
            return
        now = time.perf_counter()
        self._took.append(now - self._began)
        if now < self._end:
            self._next()
        else:
            self._transport.close()
            self.done.set_result(None)

    def _next(self) -> None:
        self._answer = b""
        self._at = (self._at + 1) % len(self._requests)
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._at])


def _bare_loop(folder: Path, size: int, seconds: float) -> tuple[list[float], float]:
    """What the disk takes for a line and its sync, one after the other."""
    took: list[float] = []
    descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        os.write(descriptor, b"x" * size)
        os.fdatasync(descriptor)
        took.append(time.perf_counter() - began)
    os.close(descriptor)
    return took, seconds


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _show(name: str, took: list[float], seconds: float, *, events: int) -> None:
    ordered = sorted(took)
    middle, slow = (ordered[int(len(ordered) * share)] * 1e3 for share in (0.5, 0.99))
    print(
        f"{name}: {len(took) / seconds:,.0f} requests/s, {events * len(took) / seconds:,.0f} "
        f"events/s; answered in {middle:.2f} ms, 99 % in {slow:.2f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()

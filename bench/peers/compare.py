"""Load the same events with each peer, into a schema of its own on the same server.

Settings that change only the speed are set for speed. What a peer checks or stores stays as its
maker has it, except for columns that the job does not write either.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import measure
from bench.measure import Run
from bench.peers.install import PACKAGES, install
from bench.server import Server
from loader.normalize.collections import declared_tables

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = measure.ROOT / ".bench" / "peers"
_SCHEMA = "peer"
# Packages by peer, where they are not called alike.
_NAMES = {"target-postgres": "meltanolabs-target-postgres"}


def install_all() -> dict[str, str]:
    """Install the peers; returns their packages with versions."""
    return {name: _version(install(name, ENVIRONMENTS), name) for name in PACKAGES}


def load_with_dlt(server: Server, path: Path, tables: Path, *, disposition: str) -> Run:
    """Load with dlt, which writes CSV and has the server COPY it."""
    _make_room(server)
    shutil.rmtree(measure.SCRATCH / "dlt", ignore_errors=True)  # dlt remembers earlier loads
    python = str(ENVIRONMENTS / "dlt" / "bin" / "python")
    script = str(HERE / "dlt_load.py")
    # dlt insists on a host; the socket's folder, which is in the query, comes before it.
    url = server.url.replace("@/", "@localhost/")
    environment = {
        "DESTINATION__POSTGRES__CREDENTIALS": url,
        "DLT_DATA_DIR": str(measure.SCRATCH / "dlt-data"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        # Files between dlt's steps: not compressed, and small enough that all cores get some.
        "DATA_WRITER__DISABLE_COMPRESSION": "true",
        "DATA_WRITER__FILE_MAX_ITEMS": "10000",
        "NORMALIZE__WORKERS": str(os.cpu_count() or 1),
    }
    done = measure.run(
        [python, script, str(path), str(tables), _SCHEMA, disposition], environment=environment
    )
    return _counted(done, server)


def load_with_target_postgres(server: Server, path: Path, tables: Path, *, checked: bool) -> Run:
    """Load with Meltano's target-postgres, fed by a small tap through a pipe, as Meltano does.

    `checked`: validate every record against its schema, which is the default; the job does so too.
    """
    _make_room(server)
    folder = ENVIRONMENTS / "target-postgres" / "bin"
    config = measure.SCRATCH / "target-postgres.json"
    config.write_text(
        json.dumps(
            {
                "sqlalchemy_url": server.url.replace("postgresql://", "postgresql+psycopg://"),
                "default_target_schema": _SCHEMA,
                "use_copy": True,
                "load_method": "upsert",
                "batch_size_rows": 50_000,  # as many as the job's
                "validate_records": checked,
                "add_record_metadata": False,
                "activate_version": False,  # needs the metadata
            }
        )
    )
    pipe = 'set -o pipefail; "$0" "$1" "$2" "$3" | "$4" --config "$5"'
    tap = [str(folder / "python"), str(HERE / "singer_tap.py"), str(path), str(tables)]
    done = measure.run(["bash", "-c", pipe, *tap, str(folder / "target-postgres"), str(config)])
    return _counted(done, server)


Peer = Callable[[Server, Path, Path], Run]
PEERS: dict[str, Peer] = {
    "dlt append": lambda *args: load_with_dlt(*args, disposition="append"),
    "dlt merge": lambda *args: load_with_dlt(*args, disposition="merge"),
    "target-postgres": lambda *args: load_with_target_postgres(*args, checked=True),
    "target-postgres unchecked": lambda *args: load_with_target_postgres(*args, checked=False),
}


def _make_room(server: Server) -> None:
    server.drop(_SCHEMA, f"{_SCHEMA}_staging")


def _counted(done: Run, server: Server) -> Run:
    """Fill in the events written, once it is sure that they are in both places."""
    rows = server.count(_SCHEMA, list(declared_tables()))
    events = rows.pop("tracks")
    if sum(rows.values()) != events:
        raise SystemExit(f"bench: the peer wrote {events} tracks but {sum(rows.values())} others")
    return replace(done, events=events)


def _version(folder: Path, name: str) -> str:
    package = _NAMES.get(name, name)
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.check_output([str(folder / "python"), "-c", code], text=True)
    return found.strip()

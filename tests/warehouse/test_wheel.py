"""The built wheel carries the migrations and works in an empty environment."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from acceptance.harness import ROOT, Database, ndjson, track


def call(*command: str | Path, **options: object) -> str:
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_the_wheel_works_in_an_empty_environment(empty_db: Database, tmp_path: Path) -> None:
    """Needs the package registry, and up to a minute."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    call(*pip, "wheel", ROOT, "--no-deps", "-w", tmp_path, cwd=tmp_path)
    [wheel] = tmp_path.glob("customerio_loader-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    migrations = {
        f"loader/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "migrations").rglob("*")
        if path.suffix in (".py", ".mako")
    }
    assert migrations <= inside
    templates = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "loader/report/templates").iterdir()
    }
    assert len(templates) > 3
    assert templates <= inside
    assert {"loader/py.typed", "loader/native/native.so"} <= inside
    assert "-py3-none-" in wheel.name  # for each Python, and for this kind of machine
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [
        name for name in inside if name.startswith(("tests/", "bench/", "migrations/", "samples/"))
    ]

    call(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    call(
        python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", wheel,
        "-c", ROOT / "constraints.txt", cwd=tmp_path,
    )  # fmt: skip
    (tmp_path / "events.ndjson").write_bytes(ndjson(track("Email Opened", messageId="1", fresh=1)))
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "LOADER_WAREHOUSE_URL": empty_db.url
    }
    program = python.with_name("customerio-loader")
    for command in (
        ["migrate"],
        ["load", "events.ndjson"],
        ["plan", "events.ndjson"],
        ["status"],
        ["report"],
    ):
        call(program, *command, cwd=tmp_path, env=env)
    assert empty_db.rows("SELECT id, fresh FROM email_opened") == [("1", 1)]
    # The embedded server is an extra, so that a URL is enough where there is no wheel of it.
    none = subprocess.run(
        [program, "status"], cwd=tmp_path, env=env | {"LOADER_WAREHOUSE_URL": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    assert "set LOADER_WAREHOUSE_URL, or install" in none.stderr
    # Alembic itself finds the revisions inside the package.
    ini = (ROOT / "alembic.ini").read_text().replace("%(here)s/migrations", "loader:migrations")
    (tmp_path / "alembic.ini").write_text(ini)
    shown = call(python, "-m", "alembic", "current", cwd=tmp_path, env=env)
    assert "(head)" in shown
    call(python, "-m", "alembic", "check", cwd=tmp_path, env=env)
    frames = (
        'import loader; frames = loader.normalize([\'{"event": "E"}\']); print(*sorted(frames))'
    )
    assert call(python, "-c", frames, cwd=tmp_path, env=env) == "e tracks\n"


def test_a_wheel_without_its_compiled_part_is_not_built(tmp_path: Path) -> None:
    """Needs the package registry too."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "-w", tmp_path],
        env=os.environ | {"CC": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "cannot be built, its C files were not compiled" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))

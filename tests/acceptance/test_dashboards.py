"""`dashboards superset`, as a user meets it."""

import shutil
import socket
import zipfile
from pathlib import Path

from acceptance.harness import Run, enterable_folder

SHOWN = "postgresql://bi_reader@db.example.com/analytics"


def text_of(path: Path) -> str:
    """All that is in a bundle."""
    with zipfile.ZipFile(path) as opened:
        return "\n".join(opened.read(name).decode() for name in opened.namelist())


def test_a_bundle_is_written_without_a_server_and_without_a_password(
    run: Run, tmp_path: Path
) -> None:
    secret = "postgresql://bi_reader:s3cret@127.0.0.1:9/analytics?sslpassword=s3cret"
    done = run("dashboards", "superset", url=secret)
    assert done.code == 0, done.err
    assert "superset.zip: the dashboard 'Customer.io e-mail' with " in done.out
    assert "asks for the password of postgresql://bi_reader@127.0.0.1:9/analytics" in done.out
    assert "s3cret" not in text_of(tmp_path / "superset.zip") + done.out + done.err


def test_another_address_source_and_file_may_be_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "loader.toml").write_text(
        '[[source]]\nname = "Customer.io"\n[[source]]\nname = \'Shop "EU"/1\'\n'
    )
    path = tmp_path / "eu.zip"
    refused = run("dashboards", "superset", "-o", path)
    assert refused.code == 2
    assert "say --source NAME" in refused.err
    done = run("dashboards", "superset", "-o", path, "--source", 'Shop "EU"/1', "--connect", SHOWN)
    assert done.code == 0, done.err
    written = text_of(path)
    assert "postgresql://bi_reader:XXXXXXXXXX@db.example.com/analytics" in written
    assert '"schema": "shop_eu1"' in written


def test_a_file_that_cannot_be_written_is_told_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in ("folder", "missing/superset.zip"):
        refused = run("dashboards", "superset", "-o", place)
        assert (refused.code, f"-o {place} cannot be written" in refused.err) == (2, True)
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_a_url_that_is_none_is_refused_without_showing_it(run: Run) -> None:
    refused = run("dashboards", "superset", "--connect", "mysql://bi:s3cret@db/analytics")
    assert refused.code == 2
    assert "postgresql://USER@HOST" in refused.err
    assert "s3cret" not in refused.err


def test_a_port_of_the_embedded_server_is_taken_with_the_role_that_only_reads(
    run: Run, tmp_path: Path
) -> None:
    folder = enterable_folder()
    env = {"LOADER_WAREHOUSE_DIR": str(folder / "wh")}
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    try:
        done = run("dashboards", "superset", url=None, env=env)
        assert done.code == 0, done.err
        assert "connects as the administrator" in done.err
        assert "postgresql://postgres@" in text_of(tmp_path / "superset.zip")
        assert run("warehouse", "start", "--port", port, url=None, env=env).code == 0
        done = run("dashboards", "superset", url=None, env=env)
        assert done.code == 0, done.err
        assert done.err == ""
        address = f"postgresql://analyst:XXXXXXXXXX@127.0.0.1:{port}/postgres"
        assert address in text_of(tmp_path / "superset.zip")
        assert f"asks for the password of postgresql://analyst@127.0.0.1:{port}/" in done.out
    finally:
        run("warehouse", "stop", url=None, env=env)
        shutil.rmtree(folder, ignore_errors=True)

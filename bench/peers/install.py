"""Install each peer from its package, into an environment of its own."""

import subprocess
import sys
from pathlib import Path

# Pinned, so that a figure can be measured again.
PACKAGES = {
    "dlt": "dlt[postgres]==1.31.0",
    "target-postgres": "meltanolabs-target-postgres==0.8.1",
}


def install(name: str, folder: Path) -> Path:
    """Return the folder of the peer's programs, installing the peer if it is not there yet."""
    home = folder / name
    marker = home / "installed.txt"
    if not marker.exists() or marker.read_text() != PACKAGES[name]:
        print(f"installing {PACKAGES[name]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-qq", PACKAGES[name]], check=True)
        marker.write_text(PACKAGES[name])
    return home / "bin"

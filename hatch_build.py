"""Compiles the C files of `loader/native` while the package is built.

Any C compiler does. Where there is none, the build takes the one that the package `ziglang` brings.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

_FOLDER = Path(__file__).parent / "loader" / "native"
_LIBRARY = _FOLDER / "native.so"
_OPTIONS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC")
# It would compile for this processor alone.
_ZIG = (sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline")


class NativeHook(BuildHookInterface[Any]):
    """What Hatch calls."""

    def dependencies(self) -> list[str]:
        """What the build needs besides."""
        return [] if _compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile. Without the library the package does the same work, several times slower."""
        sources = sorted(map(str, _FOLDER.glob("*.c")))
        # A process may have mapped the old one, so it is replaced and not written over.
        made = _LIBRARY.with_suffix(".new")
        command = [*(_compiler() or _ZIG), *_OPTIONS, "-o", str(made), *sources]
        try:
            subprocess.run(command, check=True)
            made.replace(_LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            _LIBRARY.unlink(missing_ok=True)
            self.app.display_warning(f"customerio-loader goes without its compiled part: {error}")
            return
        build_data["artifacts"].append(f"/loader/native/{_LIBRARY.name}")
        build_data["pure_python"] = False
        # It knows nothing of Python, so it serves each version.
        build_data["tag"] = f"py3-none-{next(platform_tags())}"


def _compiler() -> list[str]:
    """The command of the machine's C compiler; empty where there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), [])

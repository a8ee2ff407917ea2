"""Compiles the C files of `loader/native` while the package is built.

Any C compiler does. Where there is none, the build takes the one that the package `ziglang` brings.
"""

import os
import re
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
        return [] if _compiler() else ["ziglang>=0.13,<1"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or end the build: a package without its library would be of no use."""
        sources = sorted(map(str, _FOLDER.glob("*.c")))
        # A process may have mapped the old one, so it is replaced and not written over.
        made = _LIBRARY.with_suffix(".new")
        machines = shlex.split(os.environ.get("ARCHFLAGS", ""))  # macOS compiles for others too
        command = [*(_compiler() or _ZIG), *_OPTIONS, *machines, "-o", str(made), *sources]
        try:
            subprocess.run(command, check=True)
            made.replace(_LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.abort(
                f"customerio-loader cannot be built, its C files were not compiled: {error}; "
                "set CC to a C compiler that works, or remove it from PATH and let the build "
                "fetch one"
            )
        build_data["artifacts"].append(f"/loader/native/{_LIBRARY.name}")
        build_data["pure_python"] = False
        # It knows nothing of Python, so it serves each version.
        build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    # Set where a wheel is made for other versions of macOS than the one of this machine.
    named = os.environ.get("_PYTHON_HOST_PLATFORM", "")
    return re.sub(r"[-.]", "_", named) or next(platform_tags())


def _compiler() -> list[str]:
    """The command of the machine's C compiler; empty where there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), [])

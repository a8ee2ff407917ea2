"""The documentation as a site: it builds in strict mode, and fetches nothing from elsewhere."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from acceptance.harness import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None,
    reason="the extra `docs` is not installed; `make docs` installs it",
)
# What a browser fetches by itself: scripts, styles, images, frames; links are only followed.
_FETCHED = (
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//",
    r"<link\b(?![^>]*rel=[\"']?(?:canonical|next|prev))[^>]*\bhref=[\"']?(?:https?:)?//",
    r"@import\s+[\"']?(?:url\()?[\"']?(?:https?:)?//",
    r"url\([\"']?(?:https?:)?//",
    # Pages with these have the theme's script fetch a library.
    r"class=[\"']?(?:mermaid|glightbox)\b",
)


def test_the_site_builds_without_a_broken_link_and_fetches_nothing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [program, "build", "--clean", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / ".site"
    assert {p.stem for p in (ROOT / "docs").glob("*.md")} <= {p.stem for p in site.glob("*.html")}
    for path in (*site.rglob("*.html"), *site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        for pattern in _FETCHED:
            assert not re.search(pattern, text), (path.name, pattern)

"""The house: which room may import which, and which may print and exit."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import loader

ROOT = Path(loader.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# The rooms of `loader` that each room may import; the command line and the recipe of a load may
# import any. Inputs and the warehouse do not know each other, and the rules know nobody.
_RULES = {"normalize", "native", "errors"}
MAY_IMPORT = {
    "normalize": {"normalize"},
    "native": {"native", "errors"},
    "columns": {"columns", *_RULES},
    "sources": {"sources", "columns", "spool", *_RULES},
    "forms": {"forms", "columns", *_RULES},
    "spool": {"spool", *_RULES},
    "receive": {"receive", "spool", "config", *_RULES},
    "warehouse": {"warehouse", "columns", "config", "__version__", *_RULES},
    "marts": {"warehouse", *_RULES},  # a room in it
    "report": {"report", "warehouse", "__version__", *_RULES},
    "dashboards": {"dashboards", "warehouse", *_RULES},
    "forward": {"forward", "spool", "forms", "columns", "config", "__version__", *_RULES},
    "load": {
        *("load", "sources", "spool", "forms", "columns", "warehouse", "config", "__version__"),
        *_RULES,
    },
}
# What of `sources` is no input. In `load` nothing but the way of a load uses more of it: what a
# batch holds does not depend on where it comes from.
BLOCKS = {"blocks", "records"}
KNOW_INPUTS = {
    "spooled.py",
    "pairs.py",
    "recipe.py",
    "running.py",
    "beginning.py",
    "todo.py",
    "reading.py",
    "look.py",
}
MAY_PRINT = {"cli/text.py", "cli/log.py"}
MAY_EXIT = {"cli/app.py", "cli/signals.py", "__main__.py"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that a file imports, wherever in it; `from loader import x` is `loader.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(tree: ast.Module) -> set[str]:
    names = [name.split(".") for name in imported(tree)]
    return {parts[1] for parts in names if parts[0] == "loader" and len(parts) > 1}


def calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name in MAY_IMPORT], ids=name_of
)
def test_a_room_imports_only_what_its_band_may(path: Path) -> None:
    assert set() == rooms(parse(path)) - MAY_IMPORT[path.parent.name]


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent.name == "load" and path.name not in KNOW_INPUTS],
    ids=name_of,
)
def test_a_batch_opens_no_input(path: Path) -> None:
    names = [name.split(".") for name in imported(parse(path))]
    used = {parts[2] for parts in names if parts[:2] == ["loader", "sources"]}
    assert used <= BLOCKS


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name in ("normalize", "forms")], ids=name_of
)
def test_the_rules_do_no_io_and_read_no_clock(path: Path) -> None:
    tree = parse(path)
    io = {"os", "sys", "io", "pathlib", "time", "socket", "sqlalchemy", "psycopg2", "pandas"}
    assert set() == {name.split(".")[0] for name in imported(tree)} & io
    assert set() == {"open", "datetime.now", "datetime.utcnow", "date.today"} & set(calls(tree))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_rooms_of_the_command_line_print_and_exit(path: Path) -> None:
    """What reaches a terminal goes through a function that escapes control characters."""
    called = set(calls(parse(path)))
    if name_of(path) not in MAY_PRINT:
        assert "print" not in called
    if name_of(path) not in MAY_EXIT:
        assert set() == {"exit", "quit", "sys.exit", "os._exit"} & called


def test_every_room_is_looked_at() -> None:
    assert set(MAY_IMPORT) == {path.parent.name for path in FILES} - {"loader", "cli", "config"}


def test_few_names_stand_directly_in_the_package() -> None:
    """A dozen for the job, and rooms for what stands beside it: receiver, forwarder, for eyes."""
    names = {path.stem for path in ROOT.iterdir() if path.name[0] not in "_." and path.stem != "py"}
    assert len(names - {"receive", "forward", "report", "dashboards"}) <= 12, names

"""Texts for a terminal, and which exit code wins."""

import io
import itertools
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pytest

from loader.cli.exits import Outcomes, first_of
from loader.cli.printing import print_load, print_plan
from loader.cli.text import number, out, out_exactly, out_table, printable
from loader.errors import LockHeld, SchemaNotAtHead, UsageError
from loader.load.result import LoadResult
from loader.warehouse.ledger import Counts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(to: io.StringIO, function: Callable[..., None], text: str, **style: Any) -> str:
    """What a function prints there. (A fixture would come before pytest's own stdout.)"""
    with redirect_stdout(to):
        function(text, **style)
    return to.getvalue()


# control characters


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße 🙂 日本", "Grüße 🙂 日本"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("two\nlines\r\tand\x07", "two\\nlines\\r\\tand\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_moves_a_cursor_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_terminal_is_spared_what_a_file_gets() -> None:
    sql = "SELECT '\x1b[31m';\n-- \t."
    assert printed(Terminal(), out_exactly, sql) == "SELECT '\\x1b[31m';\n--     .\n"
    assert printed(io.StringIO(), out_exactly, sql) == sql + "\n"


# colours


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
    ids=str,
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    shown = "\x1b[32mdone\x1b[0m\n" if coloured else "done\n"
    assert printed(Terminal(), out, "done", fg="green") == shown
    assert printed(io.StringIO(), out, "done", fg="green") == "done\n"


def test_a_table_is_padded_by_what_is_shown_and_numbers_stand_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out_table(("name", "rows", "value"), [("a\x1b", "1,234", "500"), ("long name", "7", "text")])
    assert capsys.readouterr().out.splitlines() == [
        "  name        rows  value",
        "  a\\x1b      1,234  500",
        "  long name      7  text",
    ]


def test_a_number_has_its_noun() -> None:
    assert [number(0, "file"), number(1, "file"), number(1_200, "batch", "batches")] == [
        "0 files",
        "1 file",
        "1,200 batches",
    ]


# results


def result(**changes: Any) -> LoadResult:
    facts: dict[str, Any] = {
        "source": "Customer.io",
        "schema": "customerio",
        "load_id": 7,
        "status": "success",
        "counts": Counts(records_read=3, rows_loaded=2, rejects=1, rows_per_table={"tracks": 2}),
        "files": 1,
        "seconds": 1.0,
    }
    return LoadResult(**facts | changes)


def test_a_plan_begins_with_what_would_change(capsys: pytest.CaptureFixture[str]) -> None:
    changes: list[dict[str, str]] = [{"change": "create table", "table": "cart_seen"}]
    for column in range(12):
        changes.append(
            {"change": "add column", "table": "cart_seen", "column": f"c{column}", "type": "text"}
        )
    planned = result(load_id=None, pending_sql="CREATE ...;\n", migration="from nothing to 3")
    planned.counts.schema_changes = changes
    print_plan(planned, sql=False)
    shown = capsys.readouterr().out
    assert "CREATE ...;" not in shown
    assert shown.splitlines()[0] == "Nothing was written. A load would do this:"
    assert shown.splitlines()[-6:] == [
        "schema customerio: from nothing to 3",
        "1 new table: cart_seen",
        "12 new columns:",
        "  table      columns  which",
        "  cart_seen       12  c0 text, c1 text, c2 text, c3 text, c4 text, c5 text, c6 text, "
        "c7 text and 4 more",
        "See the SQL with --sql.",
    ]
    print_plan(planned, sql=True)
    *comments, sql = capsys.readouterr().out.rstrip().splitlines()
    assert sql == "CREATE ...;"
    assert all(line.startswith("--") or not line for line in comments)


def test_a_hostile_name_of_a_source_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_load(result(source="\x1b[2J"))
    assert "\x1b" not in capsys.readouterr().out


# exit codes

ORDER = (130, 143, 1, 4, 2, 3, 75, 0)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ORDER, 2)))
def test_of_two_exit_codes_the_one_that_matters_more_wins(first: int, second: int) -> None:
    assert first_of([first, second]) == first_of([second, 0, first]) == first


def test_no_code_at_all_is_success_and_an_unknown_one_a_failure() -> None:
    assert (first_of([]), first_of([0]), first_of([4, 99])) == (0, 0, 99)


def test_an_error_of_one_source_is_told_and_does_not_end_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = Outcomes()
    for error in (LockHeld("locked"), SchemaNotAtHead("old\x1b"), UsageError("wrong")):
        with outcomes.of("One", "load.failed"):
            raise error
    outcomes.add(3)
    assert outcomes.code() == 4
    assert capsys.readouterr().err.splitlines() == [
        "customerio-loader: locked",
        "customerio-loader: old\\x1b",
        "customerio-loader: wrong",
    ]


def test_a_defect_in_one_load_is_raised_after_the_others() -> None:
    outcomes = Outcomes()
    with outcomes.of("One", "load.failed"):
        raise AssertionError("records do not balance")
    outcomes.add(0)
    with pytest.raises(AssertionError, match="balance"):
        outcomes.code()


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), MemoryError()])
def test_what_is_not_of_one_load_ends_all(error: Exception) -> None:
    with pytest.raises(type(error)), Outcomes().of("One", "load.failed"):
        raise error


def test_an_error_names_the_warehouse_that_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with Outcomes().of("One", "load.failed", "eu"):
        raise LockHeld("locked")
    assert capsys.readouterr().err == "customerio-loader: warehouse 'eu': locked\n"

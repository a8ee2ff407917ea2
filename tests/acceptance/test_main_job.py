"""The main job: files of Customer.io events in, exact rows out."""

import bz2
import gzip
import json
import lzma
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from acceptance.harness import Database, Run, Write, ndjson, track, webhook

SIX = (
    "email_delivered",
    "email_opened",
    "email_link_clicked",
    "email_unsubscribed",
    "email_bounced",
    "email_marked_as_spam",
)
SHARED = (
    "id",
    "received_at",
    "uuid_ts",
    "sent_at",
    "original_timestamp",
    "timestamp",
    "anonymous_id",
    "user_id",
    "event",
    "event_text",
    "context_ip",
    "context_user_agent",
    "context_traits_email",
    "context_integration_name",
    "context_integration_version",
    "context_library_name",
    "context_library_version",
    "_extra",
)
MESSAGE = (
    "delivery_id",
    "journey_id",
    "trigger_id",
    "trigger_event_id",
    "customer_id",
    "recipient",
    "subject",
    "email_id",
    "email_subject",
    "campaign_name",
    "action_id",
    "parent_action_id",
    "campaign_id",
    "broadcast_id",
    "newsletter_id",
    "content_id",
    "transactional_message_id",
)
LATER = ("event_type",)  # which a later revision added
MACHINE = ("proxied", "prefetched", "machine", "synthetic")


def row(columns: tuple[str, ...], **values: Any) -> dict[str, Any]:
    """A row in which every column that is not named is null."""
    assert set(values) <= set(columns)
    return dict.fromkeys(columns) | values


def at(second: int, microsecond: int = 0) -> datetime:
    """A second of the minute in which the events of this file happen."""
    return datetime(2026, 9, 15, 8, 23, second, microsecond, tzinfo=UTC)


def ids(db: Database, table: str, event: str | None = None) -> set[str]:
    where = "" if event is None else f" WHERE event = '{event}'"
    return {key for (key,) in db.rows(f"SELECT id FROM {table}{where}")}


GENERATION_B = {
    "type": "track",
    "event": "Email Link Clicked",
    "messageId": "b-clicked",
    "userId": "u_1",
    "timestamp": "2026-09-15T08:23:32.000Z",
    "originalTimestamp": "2026-09-15T08:23:32.000Z",
    "sentAt": "2026-09-15T08:23:35.412Z",
    "receivedAt": "2026-09-15T08:23:35.530001Z",
    "integrations": {"Customer.io": False},
    "context": {
        "integration": {"name": "customer.io", "version": "1.0.0"},
        "library": {"name": "analytics-go", "version": "3.0.0"},
        "traits": {"email": "mia@example.com"},
    },
    "properties": {
        "action_id": 36,
        "campaign_id": 6,
        "customer_id": "u_1",
        "delivery_id": "RPIL_AgUBcRhI-Bq=",
        "journey_id": "01GW20GXAAXBKZD8J96M8FNV3R",
        "trigger_event_id": None,
        "recipient": "mia@example.com",
        "subject": "Näher dran",
        "href": "https://example.com/?a=1&b=%20",
        "link_id": 1,
        "machine": False,
    },
}
GENERATION_A = {
    "type": "track",
    "event": "Email Opened",
    "userId": "u_2",
    "messageId": "a-opened",
    "timestamp": "2026-09-15T08:23:32Z",
    "context": {
        "traits": {"email": "leo@example.com"},
        "ip": "192.0.2.10",
        "user_agent": "Mozilla/5.0 (X11)",
    },
    "properties": {
        "email_id": "18vzF7u3z",
        "email_subject": "Welcome",
        "campaign_id": "123",
        "campaign_name": "Welcome campaign",
    },
}
WEBHOOK = {
    "event_id": "w-bounced",
    "object_type": "email",
    "metric": "bounced",
    "timestamp": 1_789_460_612,
    "data": {
        "newsletter_id": 9,
        "content_id": 21,
        "broadcast_id": None,
        "customer_id": "",
        "delivery_id": "D1",
        "identifiers": {"id": None, "email": "ida@example.com", "cio_id": "d9c106000001"},
        "recipient": "ida@example.com",
        "subject": "News",
        "failure_message": "550 no such user",
    },
}
LEGACY = {
    "event_type": "email_delivered",
    "event_id": "v1-delivered",
    "timestamp": 1_789_460_613,
    "data": {
        "customer_id": "u_3",
        "email_address": "kim@example.com",
        "email_id": "34",
        "subject": "Old",
        "campaign_id": "33",
        "campaign_name": "Old campaign",
    },
}


@pytest.fixture
def loaded(run: Run, db: Database, write: Write) -> Database:
    """A database with one event of each form."""
    path = write("forms.ndjson", GENERATION_B, GENERATION_A, WEBHOOK, LEGACY)
    assert run("load", path).code == 0
    return db


def stamped(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, after a look at what differs from run to run."""
    for one in found:
        assert datetime.now(UTC) - one.pop("uuid_ts") < timedelta(minutes=1)
    return found


def test_every_column_of_each_form_has_its_exact_value(loaded: Database) -> None:
    columns = tuple(name for name in SHARED if name != "uuid_ts")
    clicked_shared: dict[str, Any] = {
        "id": "b-clicked",
        "received_at": at(35, 530001),
        "sent_at": at(35, 412000),
        "original_timestamp": at(32),
        "timestamp": at(32),
        "user_id": "u_1",
        "event": "email_link_clicked",
        "event_text": "Email Link Clicked",
        "context_traits_email": "mia@example.com",
        "context_integration_name": "customer.io",
        "context_integration_version": "1.0.0",
        "context_library_name": "analytics-go",
        "context_library_version": "3.0.0",
    }
    clicked = row(
        (*columns, *MESSAGE, *LATER, *MACHINE, "href", "link_id", "link_url"),
        **clicked_shared,
        action_id=36,
        campaign_id=6,
        customer_id="u_1",
        delivery_id="RPIL_AgUBcRhI-Bq=",
        journey_id="01GW20GXAAXBKZD8J96M8FNV3R",
        recipient="mia@example.com",
        subject="Näher dran",
        href="https://example.com/?a=1&b=%20",
        link_id="1",
        machine=False,
    )
    assert stamped(loaded.dicts("SELECT * FROM email_link_clicked")) == [clicked]
    assert stamped(loaded.dicts("SELECT * FROM tracks WHERE id = 'b-clicked'")) == [
        row(columns, **clicked_shared)
    ]

    [opened] = stamped(loaded.dicts("SELECT * FROM email_opened"))
    started = loaded.value("SELECT started_at FROM _loads")
    opened_shared: dict[str, Any] = {
        "id": "a-opened",
        "received_at": started,
        "timestamp": at(32),
        "user_id": "u_2",
        "event": "email_opened",
        "event_text": "Email Opened",
        "context_ip": "192.0.2.10",
        "context_user_agent": "Mozilla/5.0 (X11)",
        "context_traits_email": "leo@example.com",
    }
    assert opened == row(
        (*columns, *MESSAGE, *LATER, *MACHINE),
        **opened_shared,
        email_id="18vzF7u3z",
        email_subject="Welcome",
        campaign_id=123,
        campaign_name="Welcome campaign",
    )
    assert stamped(loaded.dicts("SELECT * FROM tracks WHERE id = 'a-opened'")) == [
        row(columns, **opened_shared)
    ]

    bounced_shared: dict[str, Any] = {
        "id": "w-bounced",
        "received_at": started,
        "original_timestamp": at(32),
        "timestamp": at(32),
        "anonymous_id": "ida@example.com",
        "event": "email_bounced",
        "event_text": "Email Bounced",
        "context_traits_email": "ida@example.com",
    }
    assert stamped(loaded.dicts("SELECT * FROM email_bounced")) == [
        row(
            (*columns, *MESSAGE, *LATER, "failure_message", "object_type", "metric", "cio_id"),
            **bounced_shared,
            newsletter_id=9,
            content_id=21,
            customer_id="",
            delivery_id="D1",
            recipient="ida@example.com",
            subject="News",
            failure_message="550 no such user",
            object_type="email",
            metric="bounced",
            cio_id="d9c106000001",
        )
    ]
    assert stamped(loaded.dicts("SELECT * FROM tracks WHERE id = 'w-bounced'")) == [
        row(columns, **bounced_shared)
    ]

    [delivered] = stamped(loaded.dicts("SELECT * FROM email_delivered"))
    assert {name: value for name, value in delivered.items() if value is not None} == {
        "id": "v1-delivered",
        "received_at": started,
        "original_timestamp": at(33),
        "timestamp": at(33),
        "user_id": "u_3",
        "event": "email_delivered",
        "event_text": "Email Delivered",
        "context_traits_email": "kim@example.com",
        "email_address": "kim@example.com",
        "email_id": "34",
        "subject": "Old",
        "campaign_id": 33,
        "campaign_name": "Old campaign",
        "customer_id": "u_3",
        "event_type": "email_delivered",
    }


def test_declared_tables_have_the_declared_columns_in_their_order(db: Database) -> None:
    own: dict[str, tuple[str, ...]] = {
        "tracks": (),
        "email_delivered": MESSAGE,
        "email_opened": (*MESSAGE, *MACHINE),
        "email_link_clicked": (*MESSAGE, *MACHINE, "href", "link_id", "link_url"),
        "email_unsubscribed": (*MESSAGE, "list_id", "list_name", "email_address"),
        "email_bounced": (*MESSAGE, "failure_message"),
        "email_marked_as_spam": MESSAGE,
    }
    times = {"received_at", "uuid_ts", "sent_at", "original_timestamp", "timestamp"}
    bigints = set(MESSAGE[MESSAGE.index("action_id") :])
    for table, properties in own.items():
        expected = {
            name: "timestamp with time zone"
            if name in times
            else "bigint"
            if name in bigints
            else "boolean"
            if name in MACHINE
            else "jsonb"
            if name == "_extra"
            else "text"
            for name in (*SHARED, *properties)
        }
        # A later revision can add a column only behind the others.
        later = dict.fromkeys(LATER, "text") if properties else {}
        assert list(db.types(table).items()) == list((expected | later).items()), table


def test_the_six_collections_agree_with_tracks_in_all_forms(
    run: Run, db: Database, write: Write
) -> None:
    names = {
        "email_delivered": ("Email Delivered", "delivered"),
        "email_opened": ("Email Opened", "opened"),
        "email_link_clicked": ("Email Link Clicked", "clicked"),
        "email_unsubscribed": ("Email Unsubscribed", "unsubscribed"),
        "email_bounced": ("Email Bounced", "bounced"),
        "email_marked_as_spam": ("Email Marked as Spam", "spammed"),
    }
    records = []
    for table, (name, metric) in names.items():
        records += [
            track(name, messageId=f"b-{table}", delivery_id="D", campaign_id=6),
            track(name, messageId=f"a-{table}", email_id="E", campaign_id="6"),
            webhook("email", metric, event_id=f"w-{table}", campaign_id=6, recipient="a@b.example"),
        ]
    records.append(track("Cart Seen", messageId="c"))
    result = run("load", write("all.ndjson", *records), "--json")
    assert result.json["rows_per_table"] == {"tracks": 19, **dict.fromkeys(SIX, 3), "cart_seen": 1}
    for table in (*SIX, "cart_seen"):
        expected = {f"{form}-{table}" for form in "abw"} if table in SIX else {"c"}
        assert ids(db, table) == expected
        assert ids(db, "tracks", table) == expected
    same = " AND ".join(f"t.{name} IS NOT DISTINCT FROM c.{name}" for name in SHARED)
    for table in (*SIX, "cart_seen"):
        assert db.value(f"SELECT count(*) FROM {table} c JOIN tracks t ON {same}") == len(
            ids(db, table)
        )


def test_the_same_input_twice_changes_nothing(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", GENERATION_B, WEBHOOK, track("Cart Seen", total=1.5), "{broken")
    first = run("load", path, "--json", env={"LOADER_MAX_REJECT_RATIO": "1"})
    events = db.rows("SELECT * FROM tracks ORDER BY id"), db.rows("SELECT * FROM cart_seen")
    tables, rejects = db.tables(), db.rows("SELECT * FROM _rejects")
    again = run("load", path)
    assert (again.code, again.out) == (
        0,
        "Customer.io -> schema customerio: nothing new (1 file loaded before).\n",
    )
    forced = run("load", path, "--force", "--json").json
    assert (db.rows("SELECT * FROM tracks ORDER BY id"), db.rows("SELECT * FROM cart_seen")) == (
        events
    )
    assert (db.tables(), db.rows("SELECT * FROM _rejects")) == (tables, rejects)
    counts = ("records_read", "rows_loaded", "duplicates", "rejects")
    assert [first.json[name] for name in counts] == [4, 3, 0, 1]
    assert [forced[name] for name in counts] == [4, 0, 4, 0]
    assert forced["schema_changes"] == []
    assert db.rows(f"SELECT status, {', '.join(counts)} FROM _loads ORDER BY id") == [
        ("success", 4, 3, 0, 1),
        ("success", 0, 0, 0, 0),
        ("success", 4, 0, 4, 0),
    ]


def test_what_reads_is_imported_only_where_something_is_new(
    run: Run, db: Database, write: Write
) -> None:
    batch = {
        "batch": [GENERATION_B | {"messageId": "in a batch"}],
        "sentAt": "2026-03-05T00:00:00Z",
    }
    path = write("a.ndjson", GENERATION_B, WEBHOOK, batch)
    first, again = (run("load", path, env={"PYTHONPROFILEIMPORTTIME": "1"}) for _ in range(2))
    assert (first.code, again.code, db.value("SELECT count(*) FROM _loads")) == (0, 0, 2)
    imported, imported_again = (
        {line.rpartition("|")[2].strip() for line in one.err.splitlines()} for one in (first, again)
    )
    reading = {"numpy", "loader.forms", "loader.load.reading"}
    assert reading & imported == reading
    assert "numpy.ma" not in imported  # which numpy itself imports, and only for some functions
    assert reading & imported_again == set()


def test_a_changed_file_is_read_again_and_adds_only_what_is_new(
    run: Run, db: Database, write: Write
) -> None:
    first = track("Email Opened", messageId="1")
    second = track("Email Opened", messageId="2")
    path = write("growing.ndjson", first)
    run("load", path)
    write("growing.ndjson", first, second)
    result = run("load", path, "--json").json
    assert (result["rows_loaded"], result["duplicates"]) == (1, 1)
    assert ids(db, "email_opened") == ids(db, "tracks") == {"1", "2"}
    assert db.rows("SELECT uri, size, records_done, finished, load_id FROM _files") == [
        (str(path), path.stat().st_size, 2, True, 2)
    ]


def test_the_first_copy_of_an_id_wins_and_others_are_counted(
    run: Run, db: Database, write: Write
) -> None:
    path = write(
        "a.ndjson",
        track("Email Opened", messageId="1", delivery_id="first"),
        track("Email Opened", messageId="1", delivery_id="second"),
        track("Email Bounced", messageId="1", delivery_id="another event"),
    )
    other = write("b.ndjson", track("Email Opened", messageId="1", delivery_id="later"))
    assert run("load", path, "--json").json["duplicates"] == 2
    assert run("load", other, "--json").json["duplicates"] == 1
    assert db.rows("SELECT id, delivery_id FROM email_opened") == [("1", "first")]
    assert db.rows("SELECT id, event FROM tracks") == [("1", "email_opened")]
    assert db.rows("SELECT id FROM email_bounced") == []


def test_an_event_without_an_id_is_the_same_row_when_it_is_sent_again(
    run: Run, db: Database
) -> None:
    event = track("Email Opened", messageId=..., delivery_id="D")
    resent = event | {"sentAt": "2026-03-05T00:00:00Z", "receivedAt": "2026-03-05T00:00:01Z"}
    other = track("Email Opened", messageId=..., delivery_id="E")
    hook = webhook("email", "opened", event_id=...)
    run("load", "-", stdin=ndjson(event, resent, hook))
    run("load", "-", stdin=ndjson(resent, other, hook, hook))
    assert sorted(db.rows("SELECT delivery_id FROM email_opened")) == sorted(
        [("D",), ("E",), (hook["data"]["delivery_id"],)]
    )


def test_small_batches_load_the_same_as_one_large_batch(
    run: Run, db: Database, write: Write
) -> None:
    names = ("Email Opened", "Email Delivered", "Cart Seen")
    events = [
        track(
            names[i % 3],
            messageId=f"{i % 3500}",
            delivery_id=f"d{i}",
            later=i if i > 2500 else None,
        )
        for i in range(4000)
    ]
    path = write("many.ndjson", *events)
    result = run("load", path, "--json", env={"LOADER_BATCH_RECORDS": "1000"}).json
    assert result["batches"] >= 4
    assert (result["records_read"], result["rows_loaded"], result["duplicates"]) == (
        4000,
        3500,
        500,
    )
    assert db.value("SELECT count(*) FROM tracks") == 3500
    assert db.value("SELECT count(DISTINCT id) FROM tracks") == 3500
    assert db.rows("SELECT count(*), count(later) FROM cart_seen") == [
        (1166, sum(1 for i in range(2501, 3500) if i % 3 == 2))
    ]
    assert db.value("SELECT delivery_id FROM email_opened WHERE id = '3'") == "d3"


def test_files_folders_globs_and_compressions_with_lying_names_are_read(
    run: Run, db: Database, tmp_path: Path
) -> None:
    def line(name: str) -> bytes:
        return ndjson(track("Email Opened", messageId=name))

    contents = {
        "in/plain.gz": line("plain"),
        "in/gzip.json": gzip.compress(line("gzip")),
        "in/deep/er/zstd.txt": zstandard.compress(line("zstd")),
        "in/deep/bzip2": bz2.compress(line("bzip2")),
        "in/xz.ndjson": lzma.compress(line("xz")),
        "in/two_members.gz": gzip.compress(line("member 1")) + gzip.compress(line("member 2")),
        "in/empty.ndjson": b"",
        "in/empty.gz": gzip.compress(b""),
        "in/bom.json": b"\xef\xbb\xbf" + line("bom"),
        "in/crlf.json": line("crlf").replace(b"\n", b"\r\n"),
        "in/no_line_end.json": line("no line end").rstrip(b"\n"),
        "in/.hidden": line("hidden"),
        "globbed/1.json": line("globbed"),
        "globbed/2.csv": line("not globbed"),
        "one file.json": line("one file"),
        "glob [chars].json": line("glob chars"),
    }
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    result = run(
        "load",
        tmp_path / "in",
        str(tmp_path / "globbed" / "*.json"),
        tmp_path / "one file.json",
        tmp_path / "glob [chars].json",
        tmp_path / "in" / "bom.json",
        "--json",
    )
    assert (result.code, result.json["rejects"], result.json["duplicates"]) == (0, 0, 0)
    assert ids(db, "email_opened") == {
        "plain",
        "gzip",
        "zstd",
        "bzip2",
        "xz",
        "member 1",
        "member 2",
        "bom",
        "crlf",
        "no line end",
        "globbed",
        "one file",
        "glob chars",
    }
    finished = {
        Path(uri).relative_to(tmp_path.resolve()).as_posix()
        for (uri,) in db.rows("SELECT uri FROM _files WHERE finished")
    }
    assert finished == set(contents) - {"in/.hidden", "globbed/2.csv"}


def test_stdin_is_read_each_time(run: Run, db: Database) -> None:
    assert run("load", "-", stdin=ndjson(track("Email Opened", messageId="1"))).code == 0
    zipped = gzip.compress(ndjson(track("Email Opened", messageId="2")))
    assert run("load", "-", stdin=zipped).code == 0
    assert ids(db, "email_opened") == {"1", "2"}
    assert db.rows("SELECT uri, size, modified_at, finished FROM _files") == [
        ("-", None, None, True)
    ]


def test_a_pipe_in_the_file_system_can_be_read(run: Run, db: Database) -> None:
    # Process substitution of the shell: customerio-loader load <(zcat events.gz)
    assert run("load", "/dev/stdin", stdin=ndjson(track("Email Opened", messageId="1"))).code == 0
    assert ids(db, "email_opened") == {"1"}


def test_forms_may_be_mixed_in_one_file(run: Run, db: Database, tmp_path: Path) -> None:
    def event(name: str) -> dict[str, Any]:
        return track("Email Opened", messageId=name)

    pretty = json.dumps(event("pretty"), indent=2)
    array = json.dumps([event("array 1"), event("array 2")])
    long_array = json.dumps([event("long array 1"), [event("nested")]], indent=1)
    envelope = json.dumps(
        {"batch": [event("envelope 1"), webhook("email", "opened", event_id="hook")]}
    )
    path = tmp_path / "mixed.json"
    path.write_text(
        "\n".join(
            [
                json.dumps(event("line")),
                "",
                pretty,
                array,
                long_array,
                envelope,
                json.dumps(event("last")),
            ]
        )
    )
    result = run("load", path, "--json")
    assert result.json["rejects"] == 0, db.rows("SELECT * FROM _rejects")
    assert ids(db, "email_opened") == {
        "line",
        "pretty",
        "array 1",
        "array 2",
        "long array 1",
        "nested",
        "envelope 1",
        "hook",
        "last",
    }


def test_what_a_batch_says_holds_for_its_calls_unless_they_say_it_themselves(
    run: Run, db: Database
) -> None:
    envelope = {
        "sentAt": "2026-09-15T08:23:10Z",
        "context": {"ip": "192.0.2.1", "library": {"name": "relay", "version": "2"}},
        "integrations": {"All": True},
        "writeKey": "not stored",
        "batch": [
            track("Email Opened", messageId="1", sentAt=..., context=...),
            track(
                "Email Opened",
                messageId="2",
                sentAt="2026-09-15T08:23:20Z",
                context={"ip": "192.0.2.2"},
            ),
        ],
    }
    run("load", "-", stdin=json.dumps(envelope).encode())
    assert db.rows(
        "SELECT id, sent_at, context_ip, context_library_name, _extra FROM tracks ORDER BY id"
    ) == [
        ("1", at(10), "192.0.2.1", "relay", None),
        ("2", at(20), "192.0.2.2", "relay", None),
    ]


def test_numbers_and_text_arrive_as_they_were_sent(run: Run, db: Database) -> None:
    odd = 'tab\t newline\n return\r backslash \\ \\N \\. quote " umlaut ü emoji 🙂 \u2028 x'
    lines = ndjson(
        track("Odd Values", messageId="1", text=odd, empty="", big=9007199254740993).copy(),
        '{"event": "Odd Values", "messageId": "2", "properties": {"exact": 1.10, '
        '"long": 12345678901234567890.12, "huge": 123456789012345678901234567890, "exp": 1e3}}',
    )
    assert run("load", "-", stdin=lines).code == 0
    assert db.rows(
        "SELECT text, empty, big, exact::text, long, huge, exp FROM odd_values ORDER BY id"
    ) == [
        (odd, "", 9007199254740993, None, None, None, None),
        (
            None,
            None,
            None,
            "1.10",
            Decimal("12345678901234567890.12"),
            Decimal("123456789012345678901234567890"),
            Decimal(1000),
        ),
    ]


def test_nul_and_lone_surrogates_are_replaced_and_counted(run: Run, db: Database) -> None:
    lines = ndjson(
        r'{"event": "Email Opened", "messageId": "1", '
        r'"properties": {"subject": "a\u0000b\ud800c"}}',
        r'{"event": "Email Opened", "messageId": "2", "properties": {"campaign_id": "x\u0000"}}',
    )
    result = run("load", "-", "--json", stdin=lines)
    assert result.json["replaced_characters"] == 3
    assert db.rows("SELECT subject, _extra FROM email_opened ORDER BY id") == [
        ("a\ufffdb\ufffdc", None),
        (None, {"campaign_id": "x\ufffd"}),
    ]


@pytest.mark.parametrize("key", [r"a\u0000b", r"a\ud800b"], ids=["nul", "lone surrogate"])
def test_an_id_that_cannot_be_stored_as_sent_is_found_again(
    run: Run, db: Database, key: str
) -> None:
    line = f'{{"event": "Email Opened", "messageId": "{key}"}}\n'.encode()
    assert run("load", "-", stdin=line).code == 0
    again = run("load", "-", "--json", stdin=line)
    assert again.code == 0, again.err
    assert again.json["duplicates"] == 1
    assert db.rows("SELECT id FROM tracks") == [("a\ufffdb",)]


def test_a_webhook_of_a_workspace_that_knows_people_by_id_only_is_loaded(
    run: Run, db: Database
) -> None:
    hook = webhook("email", "opened", event_id="1", identifiers={"id": "u_9"}, customer_id=...)
    result = run("load", "-", stdin=ndjson(hook))
    assert result.code == 0, result.err
    assert db.rows("SELECT id, user_id, anonymous_id FROM email_opened") == [("1", "u_9", None)]


def test_one_load_is_one_row_in_loads_that_balances(loaded: Database) -> None:
    [found] = loaded.dicts("SELECT * FROM _loads")
    assert found["started_at"] <= found["finished_at"]
    parts = ("rows_loaded", "duplicates", "rejects", "ignored")
    assert found["records_read"] == sum(found[part] for part in parts)
    assert re.fullmatch("[0-9a-f]{32}", found["token"])  # drawn anew for each load
    drawn = ("started_at", "finished_at", "token")
    kept = {k: v for k, v in found.items() if k not in drawn}
    received = loaded.rows("SELECT min(received_at), max(received_at) FROM tracks")
    assert kept == {
        "id": 1,
        "source": "Customer.io",
        "status": "success",
        "batches": 1,
        "records_read": 4,
        "rows_loaded": 4,
        "duplicates": 0,
        "rejects": 0,
        "extra_values": 0,
        "replaced_characters": 0,
        "rows_per_table": {
            "tracks": 4,
            "email_link_clicked": 1,
            "email_opened": 1,
            "email_bounced": 1,
            "email_delivered": 1,
        },
        "first_timestamp": at(32),
        "last_timestamp": at(33),
        "first_received_at": received[0][0],
        "last_received_at": received[0][1],
        "schema_changes": [
            {"change": "add column", "table": table, "column": column, "type": "text"}
            for table, column in (
                ("email_bounced", "object_type"),
                ("email_bounced", "metric"),
                ("email_bounced", "cio_id"),
                ("email_delivered", "email_address"),
            )
        ],
        "error": None,
        "loader_version": "0.2.0",
        "ignored": 0,
        "part_of": None,
        "part": None,
    }
    assert loaded.rows(
        "SELECT b.load_id, b.number, count(*) FROM _batches b JOIN tracks USING (uuid_ts) "
        "GROUP BY b.load_id, b.number"
    ) == [(1, 1, 4)]


def test_the_count_of_extra_values_is_that_of_the_rows_written(run: Run, db: Database) -> None:
    event = track("Email Opened", campaign_id="not a number")
    result = run("load", "-", "--json", stdin=ndjson(event, event))
    assert db.value("SELECT count(*) FROM email_opened WHERE _extra ? 'campaign_id'") == 1
    assert result.json["extra_values"] == 1


def test_the_span_of_a_load_is_that_of_the_rows_written(run: Run, db: Database) -> None:
    run(
        "load",
        "-",
        stdin=ndjson(
            track("Email Opened", messageId="1", timestamp="2026-01-02T00:00:00Z"),
            track("Email Opened", messageId="1", timestamp="2025-01-02T00:00:00Z"),
        ),
    )
    assert db.rows("SELECT first_timestamp, last_timestamp FROM _loads") == db.rows(
        "SELECT min(timestamp), max(timestamp) FROM tracks"
    )

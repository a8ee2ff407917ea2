"""Writing a batch: dedupe by the key, all or nothing, the ledger in the same transaction."""

from acceptance.harness import Database, Run, Write, ndjson, track

COUNTS = "SELECT status, records_read, rows_loaded, duplicates FROM _loads ORDER BY id"


def test_ids_that_are_there_are_found_by_the_key_of_tracks(
    run: Run, db: Database, write: Write
) -> None:
    # The first batch of a load into an empty table asks for no ids, so the second meets its key.
    events = [track("Email Opened", messageId=f"{i % 1500}") for i in range(3000)]
    path = write("a.ndjson", *events)
    result = run("load", path, "--json", env={"LOADER_BATCH_RECORDS": "1000"}).json
    assert result["batches"] >= 3
    assert (result["rows_loaded"], result["duplicates"]) == (1500, 1500)
    assert result["rows_per_table"] == {"tracks": 1500, "email_opened": 1500}
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM tracks") == [(1500, 1500)]
    assert db.value("SELECT count(*) FROM email_opened") == 1500


def test_rough_ids_are_found_by_the_key_too(run: Run, db: Database) -> None:
    rough = ["a\tb", "a\\b", "a\nb", "a\r", "\\N", "é\u2028🙂", " ", "a'b%s"]
    events = [track("Email Opened", messageId=key) for key in rough]
    filler = [track("Email Opened") for _ in range(1000)]
    result = run("load", "-", "--json", stdin=ndjson(*events, *filler, *events),
                 env={"LOADER_BATCH_RECORDS": "500"})  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["duplicates"] == len(rough)
    assert {key for (key,) in db.rows("SELECT id FROM tracks")} >= set(rough)
    again = run("load", "-", "--json", stdin=ndjson(*events)).json
    assert (again["rows_loaded"], again["duplicates"]) == (0, len(rough))


def test_a_row_that_was_deleted_from_tracks_only_comes_back_there(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *[track("Email Opened", messageId=str(i)) for i in range(3)])
    run("load", path)
    db.execute("DELETE FROM tracks WHERE id = '1'")
    result = run("load", path, "--force", "--json")
    assert result.code == 0, result.err
    assert (result.json["rows_loaded"], result.json["duplicates"]) == (1, 2)
    assert result.json["rows_per_table"] == {"tracks": 1}
    for table in ("tracks", "email_opened"):
        assert db.rows(f"SELECT id FROM {table} ORDER BY id") == [("0",), ("1",), ("2",)]


def test_a_batch_is_all_or_nothing(run: Run, db: Database, write: Write) -> None:
    db.execute("ALTER TABLE email_opened ADD CONSTRAINT no_d13 CHECK (delivery_id <> 'd13')")
    path = write(
        "a.ndjson",
        *[track("Email Delivered", messageId=f"{i:04}") for i in range(1000)],
        track("Cart Seen", new=1, context={"device": {"id": "x"}}),
        track("Email Opened", messageId="bad", delivery_id="d13"),
        "{a reject",
        *[track("Email Delivered", messageId=f"{i:04}") for i in range(1000, 2000)],
    )
    before = db.dump()
    result = run("load", path, env={"LOADER_BATCH_RECORDS": "1000", "LOADER_LOG_FORMAT": "text"})
    assert result.code == 1
    assert "no_d13" in result.err
    assert "Traceback" not in result.err
    # The first batch is committed whole. Of the second there is no row or reject.
    loaded = db.value("SELECT count(*) FROM tracks")
    assert loaded == db.value("SELECT count(*) FROM email_delivered") == 1000
    assert db.value("SELECT count(*) FROM _rejects") == 0
    assert db.rows(COUNTS) == [("failure", 1000, 1000, 0)]
    # What it needs of tables and columns was made ahead of it, and is recorded.
    new = {(*row[1:2], row[3]) for row in db.dump() if len(row) > 3 and row not in before}
    assert {table for table, _ in new} >= {"cart_seen"}
    assert db.value("SELECT count(*) FROM cart_seen") == 0
    recorded = db.value("SELECT schema_changes FROM _loads")
    assert {(c["table"], c.get("column")) for c in recorded} <= {*new, ("cart_seen", None)}
    assert "no_d13" in db.value("SELECT error FROM _loads")
    assert db.rows("SELECT records_done, finished FROM _files") == [(1000, False)]

    db.execute("ALTER TABLE email_opened DROP CONSTRAINT no_d13")
    assert run("load", path).code == 0
    assert db.value("SELECT count(*) FROM tracks") == 2002
    assert db.rows("SELECT id FROM email_opened") == [("bad",)]
    assert db.value("SELECT count(*) FROM _rejects") == 1


def test_a_load_that_fails_leaves_fresh_tables_empty_and_the_next_one_fills_them(
    run: Run, db: Database, write: Write
) -> None:
    db.execute("ALTER TABLE tracks ADD CONSTRAINT none CHECK (id = '')")
    path = write("a.ndjson", track("Cart Seen", new=1))
    assert run("load", path).code == 1
    assert db.value("SELECT count(*) FROM cart_seen") == 0
    assert db.rows(COUNTS) == [("failure", 0, 0, 0)]
    assert db.rows("SELECT * FROM _files") == []
    db.execute("ALTER TABLE tracks DROP CONSTRAINT none")
    assert run("load", path).code == 0
    assert db.rows("SELECT _new FROM cart_seen") == [(1,)]
    failed, loaded = db.rows("SELECT schema_changes FROM _loads ORDER BY id")
    assert [change["change"] for change in failed[0]] == ["create table", "add column"]
    assert loaded == (None,)


def test_rows_of_a_collection_and_of_tracks_are_stamped_alike(run: Run, db: Database) -> None:
    run("load", "-", stdin=ndjson(*[track("Email Opened") for _ in range(10)]))
    assert db.rows(
        "SELECT count(DISTINCT t.uuid_ts), bool_and(t.uuid_ts = c.uuid_ts) "
        "FROM tracks t JOIN email_opened c USING (id)"
    ) == [(1, True)]


def test_readers_and_owners_do_not_hold_up_a_load(run: Run, db: Database, write: Write) -> None:
    """A reader's open transaction is no reason to wait, unless the table gets a column."""
    connection = db.connect()
    try:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM customerio.email_opened")
            assert run("load", write("a.ndjson", track("Email Opened"))).code == 0
    finally:
        connection.close()


def test_a_batch_of_large_new_values_is_as_small_as_one_of_known_values(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *[track("Cart Seen", note="x" * 4000) for _ in range(5000)])
    result = run("load", path, "--json", env={"LOADER_BATCH_BYTES": str(1 << 20)})
    assert result.json["batches"] >= 4

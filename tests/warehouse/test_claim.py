"""What the ledger says about a load, against what the load knows: go on, committed, or lost."""

import pytest
from acceptance.harness import SCHEMA, Database
from sqlalchemy import Connection, make_url

from loader.errors import LedgerDisagrees, RowsDropped
from loader.warehouse import ledger
from loader.warehouse.claim import Shown, Standing, Verdict, claim, disagreement, judge
from loader.warehouse.engine import Session, make_engine
from loader.warehouse.ledger import Counts

OWN, OTHER = "own", "other"
DOUBT = Standing("running", 6)
END = Standing("success", 5)


@pytest.mark.parametrize(
    ("shown", "doubtful", "verdict"),
    [
        # five batches were acknowledged, and no COMMIT is in doubt
        (Shown(OWN, "running", 5), None, Verdict.GO_ON),
        (Shown(OWN, "running", 4), None, Verdict.BEHIND),
        (Shown(OWN, "running", 0), None, Verdict.BEHIND),
        (Shown(OWN, "running", 6), None, Verdict.AHEAD),
        (Shown(OWN, "interrupted", 5), None, Verdict.ENDED),
        (Shown(OWN, "success", 5), None, Verdict.ENDED),
        (Shown(OWN, "interrupted", 6), None, Verdict.ENDED),
        (Shown(OWN, "interrupted", 4), None, Verdict.BEHIND),
        # the COMMIT of the sixth batch is
        (Shown(OWN, "running", 5), DOUBT, Verdict.GO_ON),
        (Shown(OWN, "running", 6), DOUBT, Verdict.COMMITTED),
        (Shown(OWN, "running", 7), DOUBT, Verdict.AHEAD),
        (Shown(OWN, "running", 4), DOUBT, Verdict.BEHIND),
        (Shown(OWN, "interrupted", 6), DOUBT, Verdict.ENDED),
        # that of the end is
        (Shown(OWN, "running", 5), END, Verdict.GO_ON),
        (Shown(OWN, "success", 5), END, Verdict.COMMITTED),
        (Shown(OWN, "partial", 5), END, Verdict.ENDED),
        (Shown(OWN, "success", 4), END, Verdict.BEHIND),
        (Shown(OWN, "running", 4), END, Verdict.BEHIND),
        # that of a transaction which leaves things as they are is: to be done again
        (Shown(OWN, "running", 5), Standing("running", 5), Verdict.GO_ON),
        # another row, or none, whatever it shows
        (Shown(OTHER, "running", 5), None, Verdict.ANOTHER),
        (Shown(OTHER, "running", 6), DOUBT, Verdict.ANOTHER),
        (Shown(None, "running", 5), None, Verdict.ANOTHER),
        (Shown(None, "success", 5), END, Verdict.ANOTHER),
        (None, None, Verdict.GONE),
        (None, DOUBT, Verdict.GONE),
    ],
)
def test_the_ledger_is_judged_by_what_was_acknowledged(
    shown: Shown | None, doubtful: Standing | None, verdict: Verdict
) -> None:
    assert judge(shown, OWN, 5, doubtful) is verdict


@pytest.mark.parametrize("status", ["running", "success", "partial", "failure", "interrupted"])
@pytest.mark.parametrize("batches", range(4))
@pytest.mark.parametrize("doubtful", [None, Standing("running", 3), Standing("success", 2)])
def test_a_load_goes_on_from_one_state_and_ends_well_in_one(
    status: str, batches: int, doubtful: Standing | None
) -> None:
    verdict = judge(Shown(OWN, status, batches), OWN, 2, doubtful)
    standing = Standing(status, batches)
    assert (verdict is Verdict.GO_ON) is (standing == Standing("running", 2))
    assert (verdict is Verdict.COMMITTED) is (standing == doubtful)
    assert judge(Shown(OTHER, status, batches), OWN, 2, doubtful) is Verdict.ANOTHER


@pytest.mark.parametrize("verdict", list(Verdict)[2:])
def test_what_is_wrong_is_said_with_both_figures_and_what_to_do(verdict: Verdict) -> None:
    error = disagreement(
        verdict,
        ledger.Load(7, OWN, ""),
        counted=Counts(batches=5, records_read=5_000),
        recorded=Counts(batches=2, records_read=2_000),
        where="analytics on db1",
    )
    assert isinstance(error, LedgerDisagrees)
    for words in ("analytics on db1", "load 7", "5 batches", "5,000", "2 (2,000", "load again"):
        assert words in str(error)
    assert OWN not in str(error)


@pytest.fixture
def session(db: Database) -> Session:
    found = Session(make_engine(db.url), SCHEMA)
    assert found.open()
    return found


def begin(connection: Connection) -> ledger.Load:
    with connection.begin():
        return ledger.start_load(connection, "Customer.io", "1")


def test_a_claim_is_an_update_that_holds_the_row(db: Database, session: Session) -> None:
    connection = session.connection
    load = begin(connection)
    with connection.begin():
        assert claim(connection, load, 0, None) is Verdict.GO_ON
        locked = "SELECT id FROM _loads FOR UPDATE SKIP LOCKED"
        assert db.rows(locked) == []
    assert db.rows(locked) == [(load.id,)]
    assert db.rows("SELECT status, batches FROM _loads") == [("running", 0)]
    with connection.begin():
        assert claim(connection, load._replace(token="x"), 0, None) is Verdict.ANOTHER
        assert claim(connection, load._replace(id=load.id + 1), 0, None) is Verdict.GONE
        assert claim(connection, load, 1, None) is Verdict.BEHIND
    session.close()


@pytest.mark.parametrize(
    "what",
    [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER no BEFORE UPDATE ON _loads FOR EACH ROW EXECUTE FUNCTION no()",
        "CREATE RULE no AS ON UPDATE TO _loads DO INSTEAD NOTHING",
    ],
    ids=["a trigger", "a rule"],
)
def test_a_row_that_cannot_be_updated_is_no_lost_batch(
    db: Database, session: Session, what: str
) -> None:
    load = begin(session.connection)
    db.execute(what)
    with pytest.raises(RowsDropped, match="table _loads and kept 0: look for a trigger or a rule"):
        claim(session.connection, load, 0, None)
    session.close()


def test_the_answer_of_a_server_where_the_writer_is_not_counts_for_nothing(
    db: Database, session: Session
) -> None:
    from loader.warehouse.ids import Ids, Known, KnownIds

    db.execute("INSERT INTO tracks (id) VALUES ('a'), ('b')")
    asker = Session(session.engine, SCHEMA)
    known = KnownIds(asker, retry_timeout=0, beside=session)
    ids = Ids.join(["a", "c"])
    assert known(ids) == Known({"a"}, 1)
    first = asker.connection
    assert known(ids) == Known({"a"}, 1)
    assert asker.connection is first
    # The writer has connected anew.
    session.close()
    assert session.open()
    assert known(ids) == Known({"a"}, 2)
    assert asker.connection is not first
    # And once more, to where this one does not get.
    session.number += 1
    session._backend = session._backend | {"pid": 0}
    assert known(ids) == Known(set(), 3)
    known.close(5)
    session.close()


def test_a_role_that_is_another_one_by_a_setting_finds_the_writer_too(db: Database) -> None:
    """Such a role does not see when its own sessions began."""
    from acceptance.faults import roles

    from loader.warehouse.ids import Ids, Known, KnownIds

    with roles(db, "events_owner", "rotating"):
        db.execute(
            "GRANT events_owner TO rotating; ALTER ROLE rotating SET role = events_owner; "
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO events_owner; "
            "GRANT SELECT ON tracks TO events_owner; INSERT INTO tracks (id) VALUES ('a')"
        )
        url = make_url(db.url).set(username="rotating").render_as_string(hide_password=False)
        writer = Session(make_engine(url), SCHEMA)
        assert writer.open()
        known = KnownIds(Session(writer.engine, SCHEMA), retry_timeout=0, beside=writer)
        assert known(Ids.join(["a", "b"])) == Known({"a"}, 1)
        known.close(5)
        writer.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("off", "on"),
        ("local", "on"),
        ("on", "on"),
        ("remote_write", "remote_write"),
        ("remote_apply", "remote_apply"),
    ],
)
def test_a_commit_is_never_answered_before_it_is_on_disk(
    db: Database, given: str, expected: str
) -> None:
    db.execute(f'ALTER DATABASE "{db.name}" SET synchronous_commit = {given}')
    session = Session(make_engine(db.url), SCHEMA)
    session.connect()
    with session.connection.connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == (expected,)
    session.close()

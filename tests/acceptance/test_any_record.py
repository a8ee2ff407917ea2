"""Records as JSON allows them and people make them: each is loaded exactly, or a reject."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Result, Run

ALL = {"LOADER_MAX_REJECT_RATIO": "1"}
REPLACED = "\ufffd"


def call(key: str, properties: str = "{}", more: str = "", event: str = '"Odd"') -> bytes:
    """The text of a track call around a text of its properties."""
    return (
        f'{{"type":"track","event":{event},"messageId":"{key}","userId":"u",'
        f'"timestamp":"2026-03-04T05:06:07.000Z",{more}"properties":{properties}}}'
    ).encode("utf-8", "surrogatepass")


def load(run: Run, path: Path, *lines: bytes, **env: str) -> Result:
    """Load lines; it ends well, balances, and a second time brings nothing."""
    path.write_bytes(b"\n".join(lines) + b"\n")
    result = run("load", path, "--json", env=env)
    assert result.code in (0, 3), result.err
    one = result.json
    assert one["records_read"] == len(lines)
    parts = one["rows_loaded"] + one["duplicates"] + one["rejects"] + sum(one["ignored"].values())
    assert len(lines) == parts
    again = run("load", path, "--json", "--force", env=ALL | env)
    assert (again.json["rows_loaded"], again.json["rejects"]) == (0, 0), again.err
    assert again.json["duplicates"] == len(lines)
    return result


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    return tmp_path / "odd.ndjson"


def extras(db: Database, table: str = "odd") -> dict[str, Any]:
    return {key: value or {} for key, value in db.rows(f"SELECT id, _extra FROM {table}")}


# shape


def test_nesting_of_any_depth_is_kept_or_rejected_with_its_text(
    run: Run, db: Database, odd: Path
) -> None:
    def nested(depth: int, opening: str, closing: str) -> str:
        return f'{{"deep":{opening * depth}7{closing * depth}}}'

    lines = [
        call(f"{name}{depth}", nested(depth, opening, closing))
        for depth in (10, 63, 64, 65, 127, 130, 500, 10_000)
        for name, opening, closing in (("o", '{"a":', "}"), ("a", "[", "]"))
    ]
    load(run, odd, *lines)
    found = {key for (key,) in db.rows("SELECT id FROM odd")}
    rejected = {raw for (raw,) in db.rows("SELECT raw FROM _rejects WHERE reason = 'too_deep'")}
    names = [f"{name}{depth}" for depth in (10, 63, 64, 65, 127, 130, 500) for name in "oa"]
    assert found == set(names)
    assert rejected == {line.decode() for line in lines[-2:]}
    assert db.value("SELECT deep_" + "_".join("a" * 10) + " FROM odd WHERE id = 'o10'") == 7
    for key, text in db.rows("SELECT id, to_jsonb(odd)::text FROM odd"):
        depth = int(key[1:])
        signs = ("[" if key[0] == "a" else "{") if depth < 64 else ""
        assert "7" in text, (key, signs)


def test_an_object_with_5000_keys_fills_columns_and_then_extra(
    run: Run, db: Database, odd: Path
) -> None:
    """A row has to fit into a page, so 230 values get columns; none is lost."""
    sent = {f"key_{n:04}": f"a value that is 24 long {n % 10}" for n in range(5_000)}
    context = {f"of_{n:04}": n for n in range(5_000)}
    lines = [
        call("many", json.dumps(sent), f'"context":{json.dumps(context)},'),
        call("few", '{"key_0001":"x","key_4999":"y"}'),
    ]
    load(run, odd, *lines)
    [row] = db.dicts("SELECT * FROM odd WHERE id = 'many'")
    columns = {name: row[name] for name in sent if row.get(name) is not None}
    assert len(columns) == 230
    kept = columns | {name: value for name, value in row["_extra"].items() if name in sent}
    assert kept == sent
    shared = {f"context_{name}": value for name, value in context.items()}
    columns = {name: row[name] for name in shared if row.get(name) is not None}
    assert len(columns) == 40
    kept = columns | {name: value for name, value in row["_extra"].items() if name in shared}
    assert kept == shared
    [few] = db.dicts("SELECT * FROM odd WHERE id = 'few'")
    assert (few["key_0001"], few["key_4999"]) == ("x", "y")
    assert db.value("SELECT count(*) FROM tracks") == 2


def test_an_object_with_5000_keys_among_others_makes_no_empty_columns(
    run: Run, db: Database, odd: Path
) -> None:
    sent = json.dumps({f"key_{n:04}": n for n in range(5_000)})
    load(run, odd, call("many", sent), *[call(f"e{n}", '{"plain":1}') for n in range(100)])
    types = {name: kind for name, kind in db.types("odd").items() if name.startswith("key_")}
    assert set(types.values()) == {"bigint"}
    filled = db.dicts("SELECT * FROM odd WHERE id = 'many'")[0]
    assert [name for name in types if filled[name] is None] == []


def test_a_key_of_a_megabyte_makes_no_column_and_its_value_is_kept(
    run: Run, db: Database, odd: Path
) -> None:
    long = "Long " * 200_000
    load(
        run,
        odd,
        call("nested", json.dumps({"outer": {long: 1}, "x": 1})),
        call("value", json.dumps({"list": [{long: 2}]})),
        call("twice", json.dumps({long + "a": "first", long + "b": "second"})),
        LOADER_MAX_RECORD_BYTES="4000000",
    )
    assert [name for name in db.types("odd") if name.startswith(("long_", "outer_"))] == []
    kept = dict(db.rows("SELECT id, _extra FROM odd WHERE _extra IS NOT NULL"))
    assert kept == {
        "nested": {f"outer.{long}": 1},
        "twice": {long + "a": "first", long + "b": "second"},
    }
    assert db.value("SELECT list FROM odd WHERE id = 'value'") == [{long: 2}]


def test_a_long_key_is_a_short_column(run: Run, db: Database, odd: Path) -> None:
    long = "Long " * 10_000
    load(run, odd, call("twice", json.dumps({long + "a": "first", long + "b": "second"})))
    [row] = db.dicts("SELECT * FROM odd")
    names = [name for name in row if name.startswith("long_")]
    assert sorted(row[name] for name in names) == ["first", "second"]
    assert all(len(name) <= 63 for name in names)


def test_a_key_of_a_megabyte_alone_is_no_reject(run: Run, db: Database, odd: Path) -> None:
    long = "Long " * 200_000
    result = load(run, odd, call("large", json.dumps({long: 1})), **ALL)
    assert result.json["rejects"] == 0


# keys


@pytest.mark.parametrize("crowd", [0, 100], ids=["alone", "among others"])
def test_of_equal_keys_the_first_wins_and_the_others_are_in_extra(
    crowd: int, run: Run, db: Database, odd: Path
) -> None:
    """Never last-wins in silence."""
    load(
        run,
        odd,
        call("two", '{"a":1,"b":2,"a":3}'),
        call("three", '{"a":1,"a":"x","a":[2]}'),
        call("equal", '{"a":1,"a":1}'),
        call("nested", '{"o":{"k":1,"k":2}}'),
        call("listed", '{"l":[{"k":1,"k":2}]}'),
        call("escaped", '{"a":1,"\\u0061":2}'),
        *[call(f"e{n}", '{"a":0}') for n in range(crowd)],
    )
    found = dict(db.rows("SELECT id, a FROM odd"))
    assert [found[key] for key in ("two", "three", "equal", "escaped")] == [1, 1, 1, 1]
    more = extras(db)
    assert more["two"] == {"a": 3}
    assert more["three"] == {"a": "x", "a#2": [2]}
    assert more["equal"] == {"a": 1}
    assert more["escaped"] == {"a": 2}
    assert db.value("SELECT o_k FROM odd WHERE id = 'nested'") == 1
    assert more["nested"] == {"o.k": 2}
    assert db.value("SELECT l FROM odd WHERE id = 'listed'") == [{"k": 1, "k#2": 2}]


def test_of_equal_keys_of_the_envelope_none_is_lost(run: Run, db: Database, odd: Path) -> None:
    load(run, odd, call("one", '{"a":1}', '"userId":"second","properties":{"b":2},'))
    text = db.value("SELECT to_jsonb(odd)::text FROM odd")
    for value in ('"u"', '"second"', "1", "2"):
        assert value in text
    assert db.value("SELECT user_id FROM odd") == "u"


def test_keys_that_fold_into_one_column_are_both_kept(run: Run, db: Database, odd: Path) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    load(
        run,
        odd,
        call("case", '{"Plan":1,"plan":2,"PLAN":3}'),
        call("signs", '{"a b":1,"a-b":2,"a_b":3,"a.b":4}'),
        call("forms", json.dumps({f"caf{composed}": 1, f"caf{decomposed}": 2})),
        call("order", json.dumps({f"caf{decomposed}": 3, f"caf{composed}": 4})),
        call("accents", json.dumps({composed: 1, "\u0301": 2})),
    )
    more = extras(db)
    assert db.value("SELECT plan FROM odd WHERE id = 'case'") == 2
    assert more["case"] == {"Plan": 1, "PLAN": 3}
    assert db.value("SELECT a_b FROM odd WHERE id = 'signs'") == 3
    assert more["signs"] == {"a b": 1, "a-b": 2, "a.b": 4}
    for key, sent in (("forms", {1, 2}), ("order", {3, 4}), ("accents", {1, 2})):
        [row] = db.dicts("SELECT * FROM odd WHERE id = %s", key)
        known = {v for name, v in row.items() if name.startswith(("caf", "_0"))} - {None}
        assert known | set(more[key].values()) == sent


def test_characters_of_all_scripts_come_back(run: Run, db: Database, odd: Path) -> None:
    texts = {
        "right to left": "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
        "override": "\u202egnp.exe\u202c\u200f",
        "combining": "e\u0301 z\u0351\u036b\u0343",
        "families": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
        "separators": "a\u2028b\u2029c\x85d\x0b\x0c",
        "last": "\U0010ffff\uffff\ufffe\ufeff",
        "copy": "\\N \\. \t \r \n \\\\ \\x41 \x7f \x01",
        "quotes": "'\"$$;--/*",
    }
    load(run, odd, *[call(key, json.dumps({"v": v, v: key})) for key, v in texts.items()])
    assert dict(db.rows("SELECT id, v FROM odd")) == texts
    for key in texts:
        [row] = db.dicts("SELECT * FROM odd WHERE id = %s", key)
        assert key in [v for name, v in row.items() if name not in ("id", "v")], key


def test_what_postgresql_cannot_store_is_replaced_in_keys_and_values(
    run: Run, db: Database, odd: Path
) -> None:
    result = load(
        run,
        odd,
        call("value", r'{"v":"a\u0000b\ud800c"}'),
        call("key", r'{"a\u0000b":1}'),
        call("keys", r'{"l":[{"\u0000":1,"\ud800":2,"\ufffd":3}]}'),
        call("pair", r'{"v":"\ud83d\ude42"}'),
        call("half", r'{"v":"\ude42\ud83d"}'),
        call("everywhere", "{}", r'"anonymousId":"\u0000","context":{"ip":"\udfff"},'),
        call("name", "{}", "", r'"Odd\u0000"'),
    )
    values = dict(db.rows("SELECT id, v FROM odd"))
    assert values["value"] == f"a{REPLACED}b{REPLACED}c"
    assert (values["pair"], values["half"]) == ("\U0001f642", REPLACED * 2)
    assert db.value("SELECT a_b FROM odd WHERE id = 'key'") == 1
    listed = db.value("SELECT l FROM odd WHERE id = 'keys'")[0]
    assert sorted(listed.values()) == [1, 2, 3]
    assert all(name.startswith(REPLACED) for name in listed)
    assert db.value("SELECT event_text FROM odd WHERE id = 'name'") == f"Odd{REPLACED}"
    assert result.json["replaced_characters"] >= 8


# numbers


def test_every_number_that_json_allows_keeps_its_digits(run: Run, db: Database, odd: Path) -> None:
    long = "1234567890" * 35
    numbers = [long, f"-{long}", f"0.{long}", f"{long}.{long}", "1e349", "1e-350", "-1E+308"]
    numbers += ["0", "-0.0", "0e300", "1.0", "1e2", "9223372036854775808", "5e-324"]
    lines = [call(f"n{n}", f'{{"v":{text}}}') for n, text in enumerate(numbers)]
    lines += [call(f"l{n}", f'{{"l":[{text}]}}') for n, text in enumerate(numbers)]
    lines += [call(f"i{n}", f'{{"i":{text}}}') for n, text in enumerate(["7", *numbers])]
    load(run, odd, *lines)
    found = dict(db.rows("SELECT id, v FROM odd WHERE v IS NOT NULL"))
    listed = dict(db.rows("SELECT id, l ->> 0 FROM odd WHERE l IS NOT NULL"))
    for n, text in enumerate(numbers):
        assert Decimal(found[f"n{n}"]) == Decimal(text)
        assert Decimal(listed[f"l{n}"]) == Decimal(text)
    assert db.types("odd")["v"] == "numeric"


def test_numbers_of_too_many_digits_are_kept_as_text(run: Run, db: Database, odd: Path) -> None:
    """As they were sent, wherever they stand: PostgreSQL would print all of their digits."""
    numbers = ["1e350", "1E-351", "1e131072", "-1.5e999999", "0e999999", "1" * 351, "1" * 140_000]
    numbers += ["1e99999999999999999999"]
    lines = [call(f"n{n}", f'{{"v":{text}}}') for n, text in enumerate(numbers)]
    lines += [call(f"l{n}", f'{{"l":[{text}]}}') for n, text in enumerate(numbers)]
    lines += [
        call(f"c{n}", f'{{"campaign_id":{text}}}', event='"Email Opened"')
        for n, text in enumerate(numbers)
    ]
    load(run, odd, *lines)
    found = dict(db.rows("SELECT id, v FROM odd WHERE v IS NOT NULL"))
    listed = dict(db.rows("SELECT id, l -> 0 FROM odd WHERE l IS NOT NULL"))
    waiting = dict(db.rows("SELECT id, _extra -> 'campaign_id' FROM email_opened"))
    for n, text in enumerate(numbers):
        assert found[f"n{n}"] == listed[f"l{n}"] == waiting[f"c{n}"] == text


def test_a_number_reads_the_same_wherever_it_waits_for_its_column(
    run: Run, db: Database, odd: Path
) -> None:
    """A context column is in `tracks` before other tables have it, and then in all of them."""
    first, *more = ["1.5", "1e-7", "1E+5", "2.50e1", "2.5", "7"]
    load(run, odd, call("c0", more=f'"context":{{"accuracy":{first}}},', event='"Even"'))
    lines = [
        call(f"c{n}", more=f'"context":{{"accuracy":{number}}},')
        for n, number in enumerate(more, 1)
    ]
    load(run, odd, *lines)
    query = "SELECT context_accuracy::text FROM {} WHERE id > 'c0' ORDER BY id"
    assert db.rows(query.format("odd")) == db.rows(query.format("tracks"))
    assert db.value("SELECT count(*) FROM odd WHERE _extra IS NOT NULL") == 0


def test_a_number_has_one_text_before_and_after_its_column_was_widened(
    run: Run, db: Database, odd: Path
) -> None:
    load(run, odd, call("b", '{"v":true}'))
    load(run, odd, call("old", '{"v":1e5}'), call("long", '{"v":1e400}'))
    assert run("columns", "widen", "odd", "v", "text").code == 0
    load(run, odd, call("new", '{"v":1E+5}'), call("long_too", '{"v":1e400}'))
    assert dict(db.rows("SELECT id, v FROM odd")) == {
        "b": "true",
        "old": "100000",
        "new": "100000",
        "long": "1e400",
        "long_too": "1e400",
    }


def test_an_integer_of_any_length_in_a_list_of_the_context_is_loaded(
    run: Run, db: Database, odd: Path
) -> None:
    """The list waited, as text, for its column in another table, and could not be read again."""
    load(run, odd, call("a", more='"context":{"big":[1]},', event='"Even"'))
    digits = "9" * 5_000
    load(run, odd, call("b", more=f'"context":{{"big":[{digits}]}},'), call("c", '{"x":1}'))
    assert db.value("SELECT context_big ->> 0 FROM odd WHERE id = 'b'") == digits


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_a_reject_with_its_text(
    number: str, run: Run, db: Database, odd: Path
) -> None:
    line = call("x", f'{{"v":{number}}}')
    load(run, odd, line, call("good"))
    assert db.rows("SELECT reason, position, raw FROM _rejects") == [
        ("invalid_json", "line 1", line.decode())
    ]


# times


@pytest.mark.parametrize("form", ["alone", "among usual ones"])
def test_each_form_of_a_time_is_a_moment_or_is_kept_in_extra(
    form: str, run: Run, db: Database, odd: Path
) -> None:
    def at(*parts: int) -> datetime:
        return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]

    noon = at(2026, 3, 4, 12, 0, 0)
    moments: dict[str, datetime] = {
        f'"{text}"': noon
        for text in (
            "2026-03-04T12:00:00Z",
            "2026-03-04T12:00:00z",
            "2026-03-04 12:00:00 UTC",
            "2026-03-04T12:00:00 GMT",
            "2026-03-04T12:00:00",
            "2026-03-04T13:00:00+01",
            "2026-03-04T13:00:00+0100",
            "2026-03-04T13:00:00 +01:00",
            "2026-03-04T01:15:00-10:45",
            "2026-03-05T02:00:00+14:00",
            "2026-03-04T12:00:30+00:00:30",
            "2026-03-04T12",
            " 2026-03-04T12:00:00Z ",
            "1772625600",
            "1772625600000",
        )
    }
    moments |= {"1772625600": noon, "1772625600000": noon, "1772625600.0": noon}
    moments |= {
        '"2026-03-04T12:00:00.000001Z"': at(2026, 3, 4, 12, 0, 0, 1),
        "1772625600.000001": at(2026, 3, 4, 12, 0, 0, 1),
        '"0001-01-01T00:00:00Z"': at(1, 1, 1),
        '"9999-12-31T23:59:59.999999Z"': at(9999, 12, 31, 23, 59, 59, 999999),
        "0": at(1970, 1, 1),
        "-1": at(1969, 12, 31, 23, 59, 59),
    }
    none = ['"0000-01-01T00:00:00Z"', '"-0044-03-15T00:00:00Z"', '"0001-01-01T00:00:00+01:00"']
    none += ['"294277-01-01T00:00:00Z"', '"10000-01-01T00:00:00Z"', "1e999", "1e20", "-1e15"]
    none += ['"9999-12-31T23:59:59-01:00"', '"2016-12-31T23:59:60Z"', '"2026-02-29T00:00:00Z"']
    none += ['"2026-03-04T25:00:00Z"', '"2026-03-04T12:00:00+99:00"', '"soon"', '""', "true"]
    none += ['"2026-03-04T12:00:00 Europe/Berlin"', "[1]", '"infinity"', '"now"', "1e999999"]
    # Finer than a microsecond: the moment, and the whole of it in _extra.
    finer = ['"2026-03-04T12:00:00.0000001Z"', "1772625600.0000001"]
    texts = [*moments, *none, *finer]
    lines = [call(f"t{n}", "{}", f'"sentAt":{text},') for n, text in enumerate(texts)]
    if form == "among usual ones":
        lines += [call(f"u{n}", "{}", '"sentAt":"2026-03-04T05:06:07.000Z",') for n in range(1_000)]
    load(run, odd, *lines)
    found = dict(db.rows("SELECT id, sent_at FROM odd"))
    more = extras(db)
    for n, text in enumerate(texts):
        assert found[f"t{n}"] == moments.get(text, noon if text in finer else None), text
        if text in moments:
            assert more[f"t{n}"] == {}, text
        else:
            sent = json.loads(text, parse_float=Decimal)
            kept = more[f"t{n}"]["sent_at"]
            same = kept == sent if type(sent) is not Decimal else True
            assert same, text


@pytest.mark.parametrize(
    "text", ["1772625600.0000000000000000000001", '"2026-03-04T120000.0000001Z"']
)
def test_a_time_finer_than_a_microsecond_is_kept_in_extra(
    text: str, run: Run, db: Database, odd: Path
) -> None:
    load(run, odd, call("t", "{}", f'"sentAt":{text},'))
    assert "sent_at" in extras(db)["t"]


# names of events

NAMES = {
    "tracks": "_tracks",
    "Tracks": "_tracks",
    "_loads": "loads",
    "_files": "files",
    "_rejects": "rejects",
    "alembic_version": "_alembic_version",
    "Alembic Version": "_alembic_version",
    "pg_x": "pg_x",
    "pg_catalog": "pg_catalog",
    "pg_class": "pg_class",
    '"; drop schema customerio cascade; --': "drop_schema_customerio_cascade",
    "'; DROP TABLE tracks; --": "drop_table_tracks",
    "tracks_pkey": "tracks_pkey_0",
    "select": "_select",
    "user": "_user",
    "2026 sale": "_2026_sale",
    "%s %(x)s {} :name": "s_x_s_name",
    "information_schema": "information_schema",
    "ctid": "_ctid",
    "id": "id",
}


def test_no_name_of_an_event_harms_a_table(run: Run, db: Database, odd: Path) -> None:
    names = [*NAMES, "\u65e5\u672c\u8a9e", "n" * 10_000, "N " * 5_000]
    lines = [
        call(f"{n}-{i}", '{"v":1,"id":2}', "", json.dumps(name))
        for n, name in enumerate(names)
        for i in range(2)
    ]
    load(run, odd, *lines)
    slugs = dict(db.rows("SELECT event_text, event FROM tracks"))
    assert set(slugs) == set(names)
    assert {name: slugs[name] for name in NAMES} == NAMES
    assert len({slugs[name] for name in names[-3:]}) == 3
    for slug in set(slugs.values()):
        count = db.value("SELECT count(*) FROM tracks WHERE event = %s", slug)
        assert db.rows(f'SELECT count(*), sum(v), sum(_id) FROM customerio."{slug}"') == [
            (count, count, 2 * count)
        ]
    assert db.value("SELECT count(*) FROM tracks") == len(lines)


def test_200_names_that_fold_into_one_table_keep_their_texts(
    run: Run, db: Database, odd: Path
) -> None:
    names = [f"cart{a}{b}{c}seen" for a in " -_.!?/" for b in " -_.+~" for c in " -_.:"][:200]
    lines = [call(f"{n}", f'{{"v":{n}}}', "", json.dumps(name)) for n, name in enumerate(names)]
    load(run, odd, *lines)
    assert dict(db.rows("SELECT event_text, v FROM cart_seen")) == {
        name: n for n, name in enumerate(names)
    }
    assert db.value("SELECT count(*) FROM tracks WHERE event = 'cart_seen'") == 200


# everything at once


def test_no_odd_record_spoils_its_neighbours(run: Run, db: Database, odd: Path) -> None:
    lines = [
        call("good 1", '{"v":1}'),
        call("a", '{"v":"' + "x" * 2_000_000 + '"}'),
        b"{" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b"\xff\xfe",
        b"\0",
        b"null",
        b"{}",
        b'{"type":"track"}',
        b"}",
        b'"',
        call("good 2", '{"v":2}'),
    ]
    began = time.monotonic()
    result = load(run, odd, *lines)
    assert (result.code, result.json["rejects"]) == (3, len(lines) - 2)
    assert time.monotonic() - began < 30
    assert sorted(db.rows("SELECT id, v FROM odd")) == [("good 1", 1), ("good 2", 2)]

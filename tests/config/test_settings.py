"""What can be set, from where, and what is said where it is wrong."""

import json
import os
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from loader.config import (
    SettingKeywords,
    Settings,
    Storage,
    flag,
    keyword,
    load_settings,
    read_settings,
)
from loader.config.layers import REMOVED, source_keys
from loader.errors import LoaderWarning, UnknownSetting, UsageError
from loader.sources.connect import StoreOptions

URL = "postgresql://me@db/events"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(given: dict[str, Any] | None = None) -> str:
    """The sentence with which the settings are refused."""
    with pytest.raises(UsageError) as refused:
        load_settings(given)
    return str(refused.value)


# one list of settings


def test_what_python_may_give_is_what_can_be_set() -> None:
    hints = get_type_hints(SettingKeywords)
    tables = {"source", "storage", "warehouse", "destination"}
    assert set(hints) == set(Settings.model_fields) - tables
    for name, hint in hints.items():
        declared = Settings.model_fields[name].annotation
        looser = {
            "warehouse_url": str | None,
            "warehouse_dir": str | os.PathLike[str],
            "spool_dir": str | os.PathLike[str],
        }
        assert hint == looser.get(name, declared)


# where values come from


def test_a_keyword_comes_before_the_environment_that_before_dotenv_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("loader.toml").write_text("batch_records = 1\nmax_columns = 61\nmax_record_bytes = 1025\n")
    Path(".env").write_text("LOADER_BATCH_RECORDS=2\nLOADER_MAX_COLUMNS=62\nOTHER=1\n")
    monkeypatch.setenv("LOADER_BATCH_RECORDS", "3")
    settings, given = read_settings({"log_format": "json", "reader_role": None}, flag)
    assert (settings.batch_records, settings.max_columns, settings.max_record_bytes) == (
        3,
        62,
        1025,
    )
    assert {name: one.origin for name, one in given.items()} == {
        "batch_records": "LOADER_BATCH_RECORDS",
        "max_columns": "LOADER_MAX_COLUMNS in .env",
        "max_record_bytes": "loader.toml",
        "log_format": "--log-format",
    }


def test_database_url_counts_where_no_url_of_ours_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    assert load_settings().warehouses()[0].url() == URL
    monkeypatch.setenv("LOADER_WAREHOUSE_URL", "")  # not set
    assert load_settings().warehouses()[0].url() == URL
    monkeypatch.setenv("LOADER_WAREHOUSE_URL", "postgresql://other")
    assert load_settings().warehouses()[0].url() == "postgresql://other"


def test_variables_without_the_prefix_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://somebody-elses")
    monkeypatch.setenv("MAX_COLUMNS", "many")
    assert load_settings().warehouses()[0].is_embedded


def test_the_sources_can_be_json_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADER_SOURCE", json.dumps([{"name": "EU", "inputs": ["/x"]}]))
    [source] = load_settings().sources()
    assert (source.name, source.schema_, source.inputs) == ("EU", "eu", ("/x",))
    monkeypatch.setenv("LOADER_SOURCE", "EU")
    assert refusal().startswith("LOADER_SOURCE is not JSON")


# wrong settings

SOURCE_LIST = (
    "source (loader.toml) must be a list of tables: "
    "write [[source]], in two brackets, above the keys of each one"
)
BUCKET_TABLES = (
    "storage (loader.toml) must be a table for each bucket: "
    'write [storage."s3://bucket"] above its keys'
)
IN_FILE = [
    ('max_columns = "many"', 'max_columns (loader.toml) must be a whole number, not "many"'),
    ("max_columns = 99.5", "max_columns (loader.toml) must be a whole number, not 99.5"),
    ("max_columns = 5", "max_columns (loader.toml) must be at least 60, not 5"),
    ("batch_records = 9999999", "batch_records (loader.toml) must be at most 1000000, not 9999999"),
    ("lock_timeout = 0", "lock_timeout (loader.toml) must be more than 0.0, not 0"),
    ("lock_timeout = inf", "lock_timeout (loader.toml) must be a number, not Infinity"),
    ('max_reject_ratio = "a lot"', 'max_reject_ratio (loader.toml) must be a number, not "a lot"'),
    (
        'auto_migrate = "perhaps"',
        'auto_migrate (loader.toml) must be true or false, not "perhaps"',
    ),
    (
        'schema_contract = "thaw"',
        "schema_contract (loader.toml) must be 'evolve' or 'freeze', not \"thaw\"",
    ),
    ("reader_role = 5", "reader_role (loader.toml) must be a text in quotes, not 5"),
    ("warehouse_dir = 5", "warehouse_dir (loader.toml) must be a path in quotes, not 5"),
    (
        "warehouse_url = ['s3cr3t']",
        "warehouse_url (loader.toml) must be a text in quotes, not that",
    ),
    ('[source]\nname = "A"', SOURCE_LIST),
    ('source = "A"', SOURCE_LIST),
    ('source = ["A"]', SOURCE_LIST),
    (
        '[[source]]\ninputs = "/x"',
        "'inputs' of the source number 1 (loader.toml) must be a list: write inputs = [\"/x\"]",
    ),
    (
        '[[source]]\nname = "EU"\ncollections = "Email Opened"',
        "'collections' of the source 'EU' (loader.toml) must be a list: "
        'write collections = ["Email Opened"]',
    ),
    (
        "[[source]]\ninputs = [1]",
        "'inputs[1]' of the source number 1 (loader.toml) must be a text in quotes, not 1",
    ),
    (
        '[[source]]\nname = "EU"\ninput = ["/x"]',
        "'input' of the source 'EU' (loader.toml) is not a key of a source: did you mean 'inputs'?",
    ),
    (
        '[[source]]\nname = "EU"\nspool_dir = "spool"',  # as by `>>` at the end of the file
        "'spool_dir' of the source 'EU' (loader.toml) is not a key of a source: it is a setting of "
        "the whole file, so write it above the first line in brackets",
    ),
    (
        "[[source]]\nkey = 1",
        "'key' of the source number 1 (loader.toml) is not a key of a source: "
        f"there are {', '.join(source_keys())}",
    ),
    (
        '[[source]]\nignore_types = "page"',
        "'ignore_types' of the source number 1 (loader.toml) must be a list: "
        'write ignore_types = ["page"]',
    ),
    (
        '[[source]]\nignore_types = ["page", "track"]',
        "'ignore_types' of the source number 1 (loader.toml): 'track' is the type of the calls "
        "that are loaded: remove it, and name events that are to be ignored in `ignore_events`",
    ),
    (
        '[[source]]\nignore_types = [" "]',
        "'ignore_types' of the source number 1 (loader.toml): one of its names is blank: remove it",
    ),
    (
        '[[source]]\nname = "EU"\nignore_events = [""]',
        "'ignore_events' of the source 'EU' (loader.toml): one of its names is blank: remove it",
    ),
    (
        '[[source]]\ncollections = ["Cart Seen"]\nignore_events = ["Other", "cart_seen"]',
        "'ignore_events' of the source number 1 (loader.toml): 'Cart Seen' stands in "
        "`collections`, too: remove it there or here",
    ),
    (
        '[[source]]\nafter = "soon"',
        "'after' of the source number 1 (loader.toml): write a date or a time, such as 2026-01-31 "
        'or 2026-01-31T06:00:00Z, not "soon"',
    ),
    (
        "[[source]]\nbefore = 20260131",
        "'before' of the source number 1 (loader.toml): write a date or a time, such as 2026-01-31 "
        "or 2026-01-31T06:00:00Z, not 20260131",
    ),
    (
        "[[source]]\nbefore = 06:00:00",
        "'before' of the source number 1 (loader.toml): write a date or a time, such as 2026-01-31 "
        'or 2026-01-31T06:00:00Z, not "06:00:00"',
    ),
    (
        "[[source]]\nbefore = 2026-01-01\nafter = 2026-01-01T02:00:00+02:00",
        "'before' of the source number 1 (loader.toml): 2026-01-01T00:00:00+00:00 is not later "
        "than `after`, 2026-01-01T00:00:00+00:00: no event lies between them",
    ),
    (
        'ignore_types = ["page"]',
        "'ignore_types' in loader.toml is not a setting: "
        "it belongs to a source, so write it below a line [[source]]",
    ),
    (
        'inputs = ["/x"]',
        "'inputs' in loader.toml is not a setting: "
        "it belongs to a source, so write it below a line [[source]]",
    ),
    (
        'region = "eu-west-1"',
        "'region' in loader.toml is not a setting: "
        'it belongs to a bucket, so write it below a line [storage."s3://bucket"]',
    ),
    ('storage = "s3://b"', BUCKET_TABLES),
    ('storage.endpoint = "https://x"', BUCKET_TABLES),
    (
        '[storage."s3://b"]\nendpont = "https://x"',
        "'endpont' of the bucket 's3://b' (loader.toml) is not a key of a bucket: "
        "did you mean 'endpoint'?",
    ),
    (
        '[storage."s3://b"]\nsecret_access_key = "x"',
        "'secret_access_key' of the bucket 's3://b' (loader.toml) is not a key of a bucket: "
        "there are endpoint, region, profile, ca_file, anonymous, path_style",
    ),
    (
        '[storage."s3://b"]\nanonymous = "perhaps"',
        "'anonymous' of the bucket 's3://b' (loader.toml) must be true or false, not \"perhaps\"",
    ),
    (
        '[storage."s3://b"]\nendpoint = "minio:9000"',
        "'endpoint' of the bucket 's3://b' (loader.toml): it has to begin with https:// or "
        "http://, and name a host",
    ),
    (
        '[storage."s3://b"]\nendpoint = "https://me:s3cr3t@minio"',
        "'endpoint' of the bucket 's3://b' (loader.toml): it has credentials in it: leave them "
        "out, and give them by the environment",
    ),
    (
        '[storage."s3://b/logs"]\nregion = "x"',
        'storage (loader.toml): it is set for a whole bucket: write [storage."s3://b"]',
    ),
    (
        '[storage."s3://b"]\nregion = "x"\n[storage."s3a://b/"]\nregion = "y"',
        "storage (loader.toml): the bucket 's3://b' is there twice: leave one out",
    ),
    (
        '[storage."gcs://b"]',
        "storage (loader.toml): gcs:// is no scheme of a store that is read: write gs://...",
    ),
    ("[[sources]]", "'sources' in loader.toml is not a setting: did you mean 'source'?"),
    (
        "warehouse_ulr = ''",
        "'warehouse_ulr' in loader.toml is not a setting: did you mean 'warehouse_url'?",
    ),
    ("zzz = 1", "'zzz' in loader.toml is not a setting: correct its name or remove it"),
]


@pytest.mark.parametrize(("toml", "sentence"), IN_FILE, ids=[toml for toml, _ in IN_FILE])
def test_a_wrong_line_in_the_file_is_refused_with_what_to_write(toml: str, sentence: str) -> None:
    Path("loader.toml").write_text(toml)
    assert refusal() == sentence


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "LOADER_BATCH_RECORDS",
            "all",
            'batch_records (LOADER_BATCH_RECORDS) must be a whole number, not "all"',
        ),
        (
            "LOADER_WAREHOUSE_ULR",
            "x",
            "the environment variable LOADER_WAREHOUSE_ULR is not a setting: "
            "did you mean LOADER_WAREHOUSE_URL?",
        ),
        (
            "LOADER_Q",
            "x",
            "the environment variable LOADER_Q is not a setting: correct or unset it",
        ),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert refusal() == sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_columns": "500"}, 'max_columns must be a whole number, not "500"'),
        ({"max_columns": True}, "max_columns must be a whole number, not true"),
        ({"lock_timeout": True}, "lock_timeout must be a number, not true"),
        ({"auto_migrate": "no"}, 'auto_migrate must be true or false, not "no"'),
        ({"log_format": "xml"}, "log_format must be 'text' or 'json', not \"xml\""),
        ({"warehouse_url": b"s3cr3t"}, "warehouse_url must be a text in quotes, not that"),
        ({"batch_records": 0}, "batch_records must be at least 1, not 0"),
    ],
    ids=str,
)
def test_what_python_gives_has_its_type(given: dict[str, Any], sentence: str) -> None:
    assert refusal(given) == sentence


def test_what_python_gives_is_taken_as_it_is() -> None:
    settings = load_settings(
        {"warehouse_dir": Path("/x"), "lock_timeout": 2, "max_columns": 60, "reader_role": None}
    )
    assert (settings.warehouse_dir, settings.lock_timeout) == (Path("/x"), 2.0)
    assert (settings.max_columns, settings.reader_role) == (60, "")


def test_an_unknown_keyword_is_a_wrong_argument_and_a_wrong_use() -> None:
    with pytest.raises(UnknownSetting) as refused:
        load_settings({"warehouse_uri": URL})
    assert isinstance(refused.value, TypeError)
    assert isinstance(refused.value, UsageError)
    assert str(refused.value) == "'warehouse_uri' is not a setting: did you mean 'warehouse_url'?"


# buckets


def test_what_is_set_for_a_bucket_is_found_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("loader.toml").write_text(
        '[storage."s3a://b"]\nendpoint = "https://minio:9000/"\npath_style = false'
    )
    found = load_settings().storage["s3://b/"]
    assert (found.endpoint, found.path_style, found.region) == ("https://minio:9000", False, "")
    monkeypatch.setenv("LOADER_STORAGE", json.dumps({"gs://b": {"anonymous": True}}))
    [(root, found)] = load_settings().storage.items()
    assert (root, found.anonymous, found.endpoint) == ("gs://b/", True, "")
    monkeypatch.setenv("LOADER_STORAGE", "s3://b")
    assert refusal().startswith("LOADER_STORAGE is not JSON")


def test_what_can_be_set_for_a_bucket_is_what_the_client_takes() -> None:
    assert tuple(Storage.model_fields) == StoreOptions.__struct_fields__
    assert StoreOptions(**Storage().model_dump()) == StoreOptions()


# settings that are gone


@pytest.mark.parametrize("name", REMOVED)
def test_a_removed_setting_warns_wherever_it_is_set_and_is_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable = f"LOADER_{name.upper()}"
    Path("loader.toml").write_text(f"{name} = 4")
    Path(".env").write_text(f"{variable}=4")
    monkeypatch.setenv(variable, "4")
    assert name not in Settings.model_fields
    for spelled, shown in ((keyword, f"{name}="), (flag, f"--{name}")):
        with warnings.catch_warnings(record=True) as met:
            warnings.simplefilter("always")
            load_settings({name: 4}, spelled)
        assert [one.category for one in met] == [LoaderWarning] * 4
        said = [str(one.message).partition(" is ignored")[0] for one in met]
        assert said == [f"'{name}' in loader.toml", f"{variable} in .env", variable, shown]


# sources


def sources(toml: str) -> Settings:
    Path("loader.toml").write_text(toml)
    return load_settings()


def test_a_source_that_is_not_configured_must_be_asked_for_where_others_are() -> None:
    settings = sources('[[source]]\nname = "Customer.io EU"\n[[source]]\nname = "Shop"')
    for name, near in (
        ("Customer.io UE", "did you mean 'Customer.io EU'?"),
        ("shop", "did you mean 'Shop'?"),
        ("Zebra", "there are Customer.io EU, Shop"),
    ):
        with pytest.raises(UsageError, match="--new-source") as refused:
            settings.find_source(name, new=False)
        assert f"the source {name!r} is not configured: {near}" in str(refused.value)
    assert settings.find_source("Zebra", new=True).schema_ == "zebra"
    assert settings.find_source("Shop", new=False).schema_ == "shop"


def test_any_source_may_be_loaded_where_none_is_configured() -> None:
    assert load_settings().find_source("Zebra", new=False).schema_ == "zebra"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Email Openned", "Email Opened"),
        ("Email Open", "Email Opened"),
        ("email opened", None),  # the same table
        ("email_opened", None),
        ("Email Dropped", None),
        ("Email Sent", None),
        ("Cart Seen", None),
        ("Cart Sean", "cart_seen"),
    ],
)
def test_a_collection_that_is_almost_another_is_doubted(name: str, near: str | None) -> None:
    [source] = sources(f'[[source]]\ncollections = ["{name}", "Email Bounced"]').sources()
    doubts = source.doubts(["tracks", "cart_seen"])
    assert [doubt.rpartition(": ")[2] for doubt in doubts] == (
        [f"did you mean {near!r}?"] if near else []
    )


def test_calls_of_segment_that_are_no_events_are_ignored_unless_a_source_says_otherwise() -> None:
    others = ("identify", "page", "screen", "group", "alias")
    assert load_settings().find_source(None).ignore_types == others
    [source] = sources("[[source]]\nignore_types = []").sources()
    assert source.ignore_types == ()


MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31", MIDNIGHT),
        ("2026-01-31T00:00:00", MIDNIGHT),
        ("2026-01-31T00:00:00Z", MIDNIGHT),
        ("2026-01-31 01:00:00+01:00", MIDNIGHT),
        ('"2026-01-31"', MIDNIGHT),
        ('"20260131"', MIDNIGHT),
        ('"2026-01-31T01:00:00+01:00"', MIDNIGHT),
        ("2026-01-31T00:00:00.000001Z", MIDNIGHT + timedelta(microseconds=1)),
    ],
)
def test_a_time_is_one_of_toml_or_a_text_and_utc_without_a_zone(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: datetime
) -> None:
    [source] = sources(f"[[source]]\nafter = {written}").sources()
    assert (source.after, source.before) == (meant, None)
    text = written.strip('"')
    monkeypatch.setenv("LOADER_SOURCE", json.dumps([{"before": text, "after": None}]))
    [source] = load_settings().sources()
    assert (source.after, source.before) == (None, meant)


def test_names_of_events_are_compared_as_those_of_tables() -> None:
    names = ["Cart Seen", "cart-seen", "Tracks"]
    [source] = sources(f"[[source]]\nignore_events = {json.dumps(names)}").sources()
    assert source.ignored_tables == {"cart_seen", "_tracks"}


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ('ignore_events = ["Email Openned"]', "Email Opened"),
        ('ignore_events = ["email_opened", "Cart Sean"]', None),
        ('ignore_types = ["Identify", "page"]', "identify"),
        ('ignore_types = ["pages"]', "page"),
        ('ignore_types = ["merge", "Track"]', None),
        ("ignore_types = []", None),
    ],
)
def test_what_is_almost_the_name_of_something_that_can_be_ignored_is_doubted(
    line: str, near: str | None
) -> None:
    [source] = sources(f"[[source]]\n{line}").sources()
    doubts = source.doubts(["tracks", "cart_seen"])
    assert [doubt.rpartition(": ")[2] for doubt in doubts] == (
        [f"did you mean {near!r}?"] if near else []
    )


def test_a_dotenv_that_is_no_text_is_told() -> None:
    Path(".env").write_bytes(b"A=s3cr3t\xff")
    with pytest.raises(UsageError, match=r"the file \.env cannot be read: ") as refused:
        load_settings()
    assert "s3cr3t" not in str(refused.value)

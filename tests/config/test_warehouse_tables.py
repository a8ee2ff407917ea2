"""`[[warehouse]]`: what can be set, what is refused, and that no URL is shown where it is."""

import json
from pathlib import Path

import pytest

from loader.config import Settings, Source, load_settings, read_settings
from loader.errors import LoaderWarning, UsageError
from loader.load.pairs import choose_inputs, choose_sources, pairs_of

SECRET = "hush-hush-7"
SOURCES = '[[source]]\nname = "Shop"\n[[source]]\nname = "EU"\n'
TWO = (
    SOURCES
    + '[[warehouse]]\nname = "main"\nurl = "postgresql://main/events"\n'
    + '[[warehouse]]\nname = "eu"\nurl = "env:EU_URL"\nsources = ["EU"]\n'
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings_of(toml: str) -> Settings:
    Path("loader.toml").write_text(toml)
    return load_settings()


def refusal(toml: str, given: dict[str, object] | None = None) -> str:
    """The sentence with which the settings are refused."""
    Path("loader.toml").write_text(toml)
    with pytest.raises(UsageError) as refused:
        load_settings(given)
    assert SECRET not in str(refused.value)
    return str(refused.value)


def pairs(settings: Settings, source: str | None = None, warehouse: str | None = None) -> list[str]:
    chosen = choose_sources(settings, source)
    found = pairs_of(settings, [(one, ()) for one in chosen], warehouse)
    return [f"{pair.source.name} -> {pair.warehouse.name}" for pair in found]


# which source goes where


def test_a_source_is_loaded_into_each_warehouse_that_takes_it() -> None:
    settings = settings_of(TWO)
    assert pairs(settings) == ["Shop -> main", "EU -> main", "EU -> eu"]
    assert pairs(settings, "EU") == ["EU -> main", "EU -> eu"]
    assert pairs(settings, warehouse="eu") == ["EU -> eu"]
    assert pairs(settings, "New") == ["New -> main"]
    assert settings.find_warehouse(settings.find_source("Shop")).name == "main"
    assert settings.find_warehouse(settings.find_source("EU"), "eu").name == "eu"


@pytest.mark.parametrize(
    ("source", "warehouse", "sentence"),
    [
        ("EU", None, "the source 'EU' is loaded into several warehouses (main, eu): say"),
        ("EU", "mian", "the warehouse 'mian' is not configured: did you mean 'main'?"),
        ("EU", "zzz", "the warehouse 'zzz' is not configured: there are main, eu"),
        ("Shop", "eu", "the source 'Shop' is not loaded into the warehouse 'eu': add it to"),
    ],
)
def test_a_warehouse_that_is_not_clear_is_asked_for(
    source: str, warehouse: str | None, sentence: str
) -> None:
    settings = settings_of(TWO)
    with pytest.raises(UsageError) as refused:
        settings.find_warehouse(settings.find_source(source), warehouse)
    assert str(refused.value).startswith(sentence)


def test_without_tables_there_is_one_warehouse_without_a_name() -> None:
    [embedded] = load_settings().warehouses()
    assert (embedded.name, embedded.is_embedded) == (None, True)
    [other] = load_settings({"warehouse_url": "postgresql://db/x"}).warehouses()
    assert (other.name, other.is_embedded, other.url()) == (None, False, "postgresql://db/x")
    with pytest.raises(UsageError, match=r"no \[\[warehouse\]\] is configured"):
        load_settings().find_warehouse(load_settings().find_source(None), "main")


def test_a_source_that_no_warehouse_takes_warns_among_others_and_is_refused_alone() -> None:
    settings = settings_of(
        SOURCES + '[[warehouse]]\nname = "eu"\nurl = "postgresql://eu/x"\nsources = ["EU"]'
    )
    with pytest.warns(LoaderWarning, match="the source 'Shop' is loaded nowhere"):
        assert pairs(settings) == ["EU -> eu"]
    with pytest.raises(UsageError, match="'Shop' is not loaded into any warehouse"):
        pairs(settings, "Shop")
    assert pairs(settings, warehouse="eu") == ["EU -> eu"]  # no warning: it was chosen


# beside other ways to name a server


@pytest.mark.parametrize("how", ["keyword", "variable", "dotenv", "file"])
def test_a_url_beside_the_tables_is_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, given, toml = f"postgresql://me:{SECRET}@db/x", {}, TWO
    if how == "keyword":
        given = {"warehouse_url": url}
    elif how == "variable":
        monkeypatch.setenv("LOADER_WAREHOUSE_URL", url)
        monkeypatch.setenv("DATABASE_URL", url)
    elif how == "dotenv":
        Path(".env").write_text(f"LOADER_WAREHOUSE_URL={url}\n")
    else:
        toml = f'warehouse_url = "{url}"\n{TWO}'
        monkeypatch.setenv("DATABASE_URL", url)
    assert "are both set: leave one out" in refusal(toml, given)


def test_database_url_is_ignored_beside_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/x")
    Path("loader.toml").write_text(TWO)
    settings, given = read_settings()
    assert ("warehouse_url" in given, settings.warehouse_url) == (False, None)
    assert [one.name for one in settings.warehouses()] == ["main", "eu"]


def test_the_tables_can_be_json_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [{"name": "a", "url": "postgresql://a/x"}, {"name": "b", "url": "postgresql://b/x"}]
    monkeypatch.setenv("LOADER_WAREHOUSE", json.dumps(tables))
    assert pairs(load_settings()) == ["Customer.io -> a", "Customer.io -> b"]
    for wrong in ("main", json.dumps([f"postgresql://me:{SECRET}@a/x"]), f'{{"url": "{SECRET}"}}'):
        monkeypatch.setenv("LOADER_WAREHOUSE", wrong)
        assert "LOADER_WAREHOUSE" in refusal("")


# one database twice

SAME = [
    ("postgresql://db/x", "postgresql://db/x"),
    ("postgresql://me:one@db/x", f"postgres://you:{SECRET}@DB:5432/x?sslmode=require"),
    ("postgresql://db/x", "env:SAME_URL"),
    ("postgresql://db:6000/x", "postgresql:///?host=db&port=6000&dbname=x"),
    ("postgresql://x@db", "postgresql://db/x"),
    ("postgresql:///?service=w", "postgresql:///?service=w"),
    ("postgresql://a:1,b:2/x", "postgresql://a:1,b:2/x"),
]
OTHER = [
    ("postgresql://db/x", "postgresql://db/y"),
    ("postgresql://db/x", "postgresql://db:5433/x"),
    ("postgresql://db/x", "postgresql://eu/x"),
    ("postgresql:///x?host=/run/a", "postgresql:///x?host=/run/b"),
    ("postgresql:///?service=w", "postgresql:///?service=v"),
    ("postgresql://db/x", "env:NOT_SET"),
    ("postgresql://db/x", "postgresql://[broken/x"),
]


def tables(first: str, second: str, sources: str = "") -> str:
    one = f'[[warehouse]]\nname = "one"\nurl = "{first}"\n{sources}'
    return SOURCES + one + f'[[warehouse]]\nname = "two"\nurl = "{second}"\n'


@pytest.mark.parametrize(("first", "second"), SAME)
def test_one_database_twice_is_refused_for_a_source(
    first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAME_URL", "postgresql://db/x")
    settings = settings_of(tables(first, second, 'sources = ["EU"]\n'))
    with pytest.raises(UsageError) as refused:
        pairs(settings)
    assert "the warehouses 'one' and 'two' have the URL of one database" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert pairs(settings, "Shop") == ["Shop -> two"]


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_two_databases_are_not_taken_for_one(first: str, second: str) -> None:
    assert pairs(settings_of(tables(first, second)), "EU") == ["EU -> one", "EU -> two"]


# where a URL stands


def test_a_url_is_looked_up_where_it_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    settings = settings_of(tables("env:URL_OF_ONE", f"file:{file}"))
    one, two = settings.warehouses()
    with pytest.raises(UsageError, match="the environment variable URL_OF_ONE is not set"):
        one.url()
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        two.url()
    Path(".env").write_text("URL_OF_ONE=postgresql://dotenv/x\n")
    file.write_text("postgresql://file/x\n")
    assert (one.url(), two.url()) == ("postgresql://dotenv/x", "postgresql://file/x")
    monkeypatch.setenv("URL_OF_ONE", "postgresql://variable/x")
    assert one.url() == "postgresql://variable/x"


@pytest.mark.parametrize(
    "content", [b"", b"\n", f"a\n{SECRET}\n".encode(), b"\xff" + SECRET.encode()]
)
def test_a_file_that_holds_no_url_is_told_without_what_it_holds(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "url").write_bytes(content)
    settings = settings_of(tables(f"file:{tmp_path / 'url'}", "postgresql://b/x"))
    with pytest.raises(UsageError, match="the file '/") as refused:
        settings.warehouses()[0].url()
    assert SECRET not in str(refused.value)


def test_the_only_url_may_stand_elsewhere_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_URL", "postgresql://db/x")
    [only] = settings_of('warehouse_url = "env:THE_URL"').warehouses()
    assert only.url() == "postgresql://db/x"


def test_no_url_is_in_what_python_shows() -> None:
    settings = settings_of(tables(f"postgresql://me:{SECRET}@a/x", "postgresql://b/x"))
    shown = [repr(settings), repr(settings.warehouses()), str(settings.model_dump())]
    shown.append(repr(pairs_of(settings, [(Source(name="EU"), ())], None)))
    assert SECRET not in " ".join(shown)


# what is wrong in the tables

NAMED = f'[[warehouse]]\nname = "a"\nurl = "postgresql://me:{SECRET}@a/x"\n'
WRONG = [
    (
        f'{NAMED}sources = ["Shop", "Shpo"]',
        "warehouse 'a' has 'Shpo', which is not configured: did you mean 'Shop'?",
    ),
    (
        f'{NAMED}sources = ["zzz"]',
        "`sources` of the warehouse 'a' has 'zzz', which is not configured: there are Shop, EU",
    ),
    (NAMED + NAMED, "two warehouses are called 'a': rename one of them"),
    (
        f"{NAMED}sources = []",
        "'sources' of the warehouse 'a' (loader.toml): it is empty: name a source, or leave "
        "`sources` out for all of them",
    ),
    (
        f'{NAMED}sources = "EU"',
        "'sources' of the warehouse 'a' (loader.toml) must be a list: write sources = [\"EU\"]",
    ),
    (
        f'{NAMED}password = "{SECRET}"',
        "'password' of the warehouse 'a' (loader.toml) is not a key of a warehouse: "
        "there are name, url, sources",
    ),
    ('[[warehouse]]\nname = "a"', "'url' of the warehouse 'a' (loader.toml) is missing"),
    (
        '[[warehouse]]\nname = "a"\nurl = ""',
        "'url' of the warehouse 'a' (loader.toml): it is empty: write a URL, or `env:NAME` or "
        "`file:PATH`",
    ),
    (
        f'[[warehouse]]\nname = "a"\nurl = ["{SECRET}"]',
        "'url' of the warehouse 'a' (loader.toml) must be a text in quotes, not that",
    ),
    (
        f'[[warehouse]]\nurl = "{SECRET}"',
        "'name' of the warehouse number 1 (loader.toml) is missing",
    ),
    (
        f'[[warehouse]]\nname = " "\nurl = "{SECRET}"',
        "'name' of the warehouse ' ' (loader.toml): the name is blank: write one",
    ),
    (
        f'[warehouse]\nname = "a"\nurl = "{SECRET}"',
        "warehouse (loader.toml) must be a list of tables: write [[warehouse]], in two brackets, "
        "above the keys of each one",
    ),
]


@pytest.mark.parametrize(("toml", "sentence"), WRONG)
def test_a_wrong_table_is_refused_with_what_to_write(toml: str, sentence: str) -> None:
    assert refusal(SOURCES + toml).endswith(sentence)


def test_the_url_of_a_warehouse_is_no_setting_of_all() -> None:
    assert refusal(f'url = "{SECRET}"') == (
        "'url' in loader.toml is not a setting: "
        "it belongs to a warehouse, so write it below a line [[warehouse]]"
    )


def test_the_default_source_may_be_named() -> None:
    settings = settings_of(
        '[[warehouse]]\nname = "a"\nurl = "postgresql://a/x"\nsources = ["Customer.io"]'
    )
    assert pairs(settings) == ["Customer.io -> a"]


def test_a_source_that_stands_there_twice_has_the_inputs_of_each() -> None:
    settings = settings_of(
        "".join(f'[[source]]\nname = "EU"\ninputs = ["/{n}"]\n' for n in (1, 2))
        + "".join(f'[[warehouse]]\nname = "{n}"\nurl = "postgresql://{n}/x"\n' for n in "ab")
    )
    found = pairs_of(settings, choose_inputs(settings, None, None, new=False), None)
    assert [(*pair.inputs, pair.warehouse.name) for pair in found] == [
        ("/1", "a"),
        ("/1", "b"),
        ("/2", "a"),
        ("/2", "b"),
    ]

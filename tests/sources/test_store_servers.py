"""Inputs in stores, on real servers of S3, Google and Azure."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace
from sources.stores import Certificate, Served, azurite, fake_gcs, make_certificate, moto_s3

from loader.errors import InputUnreadable, UsageError
from loader.sources.connect import Patience, StoreOptions
from loader.sources.page import InputFile, ObjectChanged, ObjectGone, Page
from loader.sources.store import Bucket
from loader.sources.unpack import unpack
from loader.sources.urls import read_url

_SERVERS: dict[str, Callable[[], AbstractContextManager[Served]]] = {
    "s3": moto_s3,
    "gs": fake_gcs,
    "az": azurite,
}
ODD = ["a b.gz", "a+b", "a%20b", "ü", "a?b#c", "a'b&c=d", "[x]*", "a..b", "日本/語", "=;,@:$!~"]
_HASTE = Patience(retries=1, read_seconds=5.0, most_pause=0.05)
_numbers = count(1)


@pytest.fixture(scope="module", params=_SERVERS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with _SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def folder() -> str:
    """A folder of the test's own, with a slash at its end."""
    return f"test{next(_numbers)}/"


@pytest.fixture
def bucket(served: Served, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in served.env.items():
        monkeypatch.setenv(name, value)
    options = StoreOptions(endpoint=served.endpoint, **served.options)
    return Bucket(read_url(served.root), options, _HASTE)


def listed(bucket: Bucket, key: str, since: date | None = None) -> list[InputFile]:
    return [file for page in bucket.pages(bucket.root + key, since) for file in page.files]


def keys(bucket: Bucket, key: str, since: date | None = None) -> list[str]:
    return [file.uri.removeprefix(bucket.root) for file in listed(bucket, key, since)]


def read(bucket: Bucket, file: InputFile) -> bytes:
    with bucket.open(file) as stored:
        return stored.read()


def test_objects_are_listed_and_read_as_they_are(
    served: Served, bucket: Bucket, folder: str
) -> None:
    served.put(folder + "a.gz", b"one")
    served.put(folder + "deep/er/b", b"")
    served.put(folder + "deep/er/c", b"three")
    for spelled in (folder, folder.rstrip("/")):
        first, second = listed(bucket, spelled)
        assert [first.uri, second.uri] == [
            f"{served.root}{folder}a.gz",
            f"{served.root}{folder}deep/er/c",
        ]
        assert (first.size, second.size) == (3, 5)
        assert first.modified_at is not None
        assert first.modified_at.tzinfo is not None
        assert first.version is not None
        assert '"' not in first.version
        with bucket.open(first) as stored:
            assert stored.file == first
            assert stored.read1(2) + stored.read(2) + stored.read(2) == b"one"
            assert stored.read1(1) == b""


@pytest.mark.parametrize("key", ODD)
def test_an_odd_key_is_read_where_it_is_listed_and_where_it_is_named(
    served: Served, bucket: Bucket, folder: str, key: str
) -> None:
    served.put(folder + key, key.encode())
    [file] = listed(bucket, folder)
    assert file.uri == served.root + folder + key
    assert read(bucket, file) == key.encode()
    [named] = listed(bucket, folder + key)
    assert named == replace(file, is_named=True)


def test_an_object_that_was_replaced_is_not_read_as_the_one_that_was_listed(
    served: Served, bucket: Bucket, folder: str
) -> None:
    served.put(folder + "a.gz", b"one")
    [old] = listed(bucket, folder)
    served.put(folder + "a.gz", b"two")
    with pytest.raises(ObjectChanged, match="has changed since it was listed"):
        bucket.open(old)
    [new] = listed(bucket, folder)
    assert new.version != old.version
    assert read(bucket, new) == b"two"


def test_an_object_that_is_gone_is_told_apart(served: Served, bucket: Bucket, folder: str) -> None:
    served.put(folder + "a.gz", b"one")
    [old] = listed(bucket, folder)
    served.delete(folder + "a.gz")
    with pytest.raises(ObjectGone, match="not there any more"):
        bucket.open(old)


def test_an_object_that_says_it_is_gzip_arrives_as_it_is_stored(
    served: Served, bucket: Bucket, folder: str
) -> None:
    served.put(folder + "a.gz", gzip.compress(b"one\n"), "gzip")
    [file] = listed(bucket, folder)
    assert file.size == len(gzip.compress(b"one\n"))
    with bucket.open(file) as stored:
        assert b"".join(unpack(stored, b"\x1f\x8b")) == b"one\n"


def test_days_are_listed_from_the_oldest_and_those_before_since_are_not(
    served: Served, bucket: Bucket, folder: str
) -> None:
    for name in ("12-31-2025/x", "11-25-2026/x", "01-02-2026/x", "loose", "11-25-2026/07/y"):
        served.put(folder + name, b"x")
    pages = list(bucket.pages(bucket.root + folder))
    assert [page.day for page in pages] == [
        None,
        date(2025, 12, 31),
        date(2026, 1, 2),
        date(2026, 11, 25),
    ]
    assert keys(bucket, folder, date(2026, 1, 2)) == [
        folder + name for name in ("loose", "01-02-2026/x", "11-25-2026/07/y", "11-25-2026/x")
    ]


def test_a_pattern_names_several_objects(served: Served, bucket: Bucket, folder: str) -> None:
    for name in ("2026-11-24/x.gz", "2026-11-25/x.gz", "2026-11-25/y.json", "2026-12-01/x.gz"):
        served.put(folder + name, b"x")
    assert keys(bucket, folder + "2026-11-*/*.gz") == [
        folder + "2026-11-24/x.gz",
        folder + "2026-11-25/x.gz",
    ]
    assert keys(bucket, folder + "**/y*") == [folder + "2026-11-25/y.json"]


def test_what_names_nothing_is_refused(served: Served, bucket: Bucket, folder: str) -> None:
    served.put(folder + "2026-11-25/x", b"x")
    for key in ("2026-", "none/", "none.gz", "2026-11-25/x/", "none*"):
        with pytest.raises(InputUnreadable, match="no object matches"):
            keys(bucket, folder + key)


def test_a_bucket_that_is_not_there_is_said(
    served: Served, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = served.root.partition("://")[0]
    if scheme == "gs":
        pytest.skip("fake-gcs-server answers with 500 where Google says that there is none")
    options = StoreOptions(endpoint=served.endpoint, **served.options)
    other = Bucket(read_url(f"{scheme}://other"), options, _HASTE)
    with pytest.raises(InputUnreadable, match=r"no (such )?bucket"):
        keys(other, "")


def test_more_than_one_answer_of_the_store_is_listed(
    served: Served, bucket: Bucket, folder: str
) -> None:
    for number in range(30):
        served.put(f"{folder}{number:04d}", b"x")
    [page] = bucket.pages(bucket.root + folder)
    assert isinstance(page, Page)
    assert len({file.uri for file in page.files}) == 30


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_a_store_behind_a_private_authority_is_read_with_its_certificate(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto_s3(certificate) as served:
        for name, value in served.env.items():
            monkeypatch.setenv(name, value)
        served.put("tls/a.gz", b"one")
        trusting = StoreOptions(endpoint=served.endpoint, ca_file=str(certificate.authority))
        [file] = listed(Bucket(read_url(served.root), trusting, _HASTE), "tls/")
        assert file.size == 3
        strict = Bucket(read_url(served.root), StoreOptions(endpoint=served.endpoint), _HASTE)
        with pytest.raises(InputUnreadable, match="set `ca_file` of its storage") as refused:
            listed(strict, "")
    assert "an authority that is not known here" in str(refused.value)


def test_the_wrong_file_for_an_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ca_file '/none' cannot be read: No such file"):
        Bucket(read_url("s3://b"), StoreOptions(ca_file="/none"))
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
    with pytest.raises(UsageError, match="cannot be used"):
        Bucket(read_url("s3://b"), StoreOptions(ca_file=str(tmp_path / "ca.pem")))

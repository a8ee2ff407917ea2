"""What is listed of large and odd buckets, in which order, with how many requests; on a fake."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sources.fake_s3 import BUCKET, FakeS3

from loader.errors import InputUnreadable
from loader.sources import listing
from loader.sources.connect import Patience, StoreOptions
from loader.sources.page import Page
from loader.sources.store import Bucket
from loader.sources.urls import read_url

_HASTE = Patience(retries=2, read_seconds=2.0, most_pause=0.02)
ROOT = f"s3://{BUCKET}/"
FIRST = date(2026, 1, 1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with FakeS3() as server:
        server.content = b"x"
        yield server


def pages(fake: FakeS3, key: str, since: date | None = None) -> list[Page]:
    bucket = Bucket(read_url(ROOT), StoreOptions(endpoint=fake.url), _HASTE)
    return list(bucket.pages(ROOT + key, since))


def keys(found: list[Page]) -> list[str]:
    return [file.uri.removeprefix(ROOT) for page in found for file in page.files]


def days(count: int, spelling: str = "%Y-%m-%d", per_day: int = 30) -> list[str]:
    return sorted(
        f"logs/abc/{(FIRST + timedelta(days=day)).strftime(spelling)}/{number:03d}.gz"
        for day in range(count)
        for number in range(per_day)
    )


SPELLINGS = ["%Y-%m-%d", "%m-%d-%Y", "%Y/%m/%d", "%Y/%m/%d/07", "year=%Y/month=%m/day=%d"]


@pytest.mark.parametrize("spelling", [*SPELLINGS, "dt=%Y-%m-%d"])
def test_days_come_from_the_oldest_on_each_with_its_files(fake: FakeS3, spelling: str) -> None:
    fake.keys = days(400, spelling)  # into the next year
    found = pages(fake, "logs/")
    assert [page.day for page in found] == [FIRST + timedelta(days=day) for day in range(400)]
    assert sorted(keys(found)) == fake.keys
    assert all(page.files == sorted(page.files, key=lambda file: file.uri) for page in found)


@pytest.mark.parametrize("spelling", [*SPELLINGS, "dt=%Y-%m-%d"])
def test_older_days_are_not_listed(fake: FakeS3, spelling: str) -> None:
    fake.keys = days(400, spelling)
    since = FIRST + timedelta(days=397)
    found = pages(fake, "logs/", since)
    assert [page.day for page in found] == [since, *(since + timedelta(d) for d in (1, 2))]
    assert len(keys(found)) == 90
    assert fake.listings <= 30


def test_a_folder_of_the_future_is_listed_as_the_last_one(fake: FakeS3) -> None:
    fake.keys = sorted([*days(60), "logs/abc/2099-01-01/x.gz"])
    assert pages(fake, "logs/", FIRST + timedelta(days=59))[-1].day == date(2099, 1, 1)


def test_the_same_is_found_in_few_objects_as_in_many(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix of less than a thousand objects takes one request."""
    fake.keys = sorted(
        [*days(20, "%m-%d-%Y"), "logs/loose.gz", "logs/other/x", "logs/abc/.hidden/x", "logs/.x"]
    )
    since = FIRST + timedelta(days=5)
    few = pages(fake, "logs/"), pages(fake, "logs/", since)
    assert fake.listings == 2
    monkeypatch.setattr(listing, "_CHUNK", 5)
    many = pages(fake, "logs/"), pages(fake, "logs/", since)
    assert fake.listings > 10
    for some, others in zip(few, many, strict=True):
        assert sorted(keys(some)) == sorted(keys(others))
        assert {page.day for page in some} == {page.day for page in others}
    assert len(keys(few[0])) == 20 * 30 + 2
    assert len(keys(few[1])) == 15 * 30 + 2


def test_what_is_in_no_folder_of_a_day_is_always_listed(fake: FakeS3) -> None:
    loose = ["logs/abc/loose.gz", "logs/abc/retry/x.gz", "logs/abc/2026-13-01/x.gz"]
    fake.keys = sorted([*days(60), *loose])
    found = pages(fake, "logs/", FIRST + timedelta(days=70))
    assert sorted(keys(found)) == sorted(loose)
    assert {page.day for page in found} == {None}


def test_files_of_a_month_count_as_of_its_last_day(fake: FakeS3) -> None:
    fake.keys = sorted([*days(90, "%Y/%m/%d"), "logs/abc/2026/02/x.gz"])
    [page] = [page for page in pages(fake, "logs/") if "logs/abc/2026/02/x.gz" in keys([page])]
    assert page.day == date(2026, 2, 28)
    assert "logs/abc/2026/02/x.gz" in keys(pages(fake, "logs/", date(2026, 2, 28)))
    assert "logs/abc/2026/02/x.gz" not in keys(pages(fake, "logs/", date(2026, 3, 1)))


def test_folders_that_begin_with_the_day_are_never_taken_for_old_ones(fake: FakeS3) -> None:
    fake.keys = days(60, "%d-%m-%Y")
    found = pages(fake, "logs/", FIRST + timedelta(days=59))
    assert sorted(keys(found)) == fake.keys
    assert {page.day for page in found} == {None}


def test_an_address_may_name_a_part_of_a_day(fake: FakeS3) -> None:
    fake.keys = days(90, "%Y/%m/%d", 40)
    assert [page.day for page in pages(fake, "logs/abc/2026/02")][:2] == [
        date(2026, 2, 1),
        date(2026, 2, 2),
    ]
    [page] = pages(fake, "logs/abc/2026/02/03/", date(2026, 3, 1))  # it was named
    assert (page.day, len(page.files)) == (date(2026, 2, 3), 40)
    [page] = pages(fake, "logs/abc/2026/02/03/001.gz")
    assert (page.day, len(page.files)) == (date(2026, 2, 3), 1)


def test_pages_are_bounded(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_FILES", 2_000)
    fake.keys = [f"flat/{number:06d}.json" for number in range(5_500)]
    found = pages(fake, "flat/")
    assert [len(page.files) for page in found] == [2_000, 2_000, 1_500]
    assert keys(found) == fake.keys
    assert not any("delimiter" in request.query for request in fake.requests)


def test_a_flat_folder_behind_another_one_is_streamed(fake: FakeS3) -> None:
    """To look for its folders, the library would hold all of its files."""
    fake.keys = sorted(
        [
            *(f"flat/0archive/{number:06d}.json" for number in range(1_500)),
            *(f"flat/{number:06d}.json" for number in range(5_500)),
        ]
    )
    assert keys(pages(fake, "flat/")) == fake.keys
    assert not any("delimiter" in request.query for request in fake.requests)


def test_very_many_folders_are_listed_as_one(fake: FakeS3) -> None:
    fake.keys = [f"users/{user:05d}/{one}.json" for user in range(2_000) for one in range(3)]
    assert keys(pages(fake, "users/")) == fake.keys
    assert fake.listings <= 12


def test_a_store_that_does_not_know_where_to_start_is_listed_as_well(fake: FakeS3) -> None:
    fake.ignores_start_after = True
    fake.keys = days(60)
    assert keys(pages(fake, "logs/", FIRST + timedelta(days=59))) == fake.keys[-30:]


def test_markers_of_folders_and_hidden_names_are_left_out(fake: FakeS3) -> None:
    fake.objects = {
        "logs/": b"",
        "logs/abc/": b"",
        "logs/abc/x.gz": b"x",
        "logs/abc/.x.gz": b"x",
        "logs/.tmp/x.gz": b"x",
        "logs/_SUCCESS": b"",
        "logs/_new.gz": b"x",
        ".own/x.gz": b"x",
    }
    assert keys(pages(fake, "logs/")) == ["logs/_new.gz", "logs/abc/x.gz"]
    assert keys(pages(fake, "")) == ["logs/_new.gz", "logs/abc/x.gz"]
    assert keys(pages(fake, ".own/")) == [".own/x.gz"]  # it was named


@pytest.mark.parametrize(
    ("pattern", "expected", "most"),
    [
        ("logs/abc/2026-02-0?/000.gz", 9, 25),
        ("logs/abc/2026-02-01", 30, 4),
        ("logs/*/2026-02-01/00*", 10, 20),
        ("logs/**/029.gz", 90, 120),
        ("logs/*c/2026-0[13]-*", 62 * 30, 80),
    ],
)
def test_a_pattern_lists_no_more_than_what_it_may_match(
    fake: FakeS3, pattern: str, expected: int, most: int
) -> None:
    fake.keys = days(90)
    assert len(keys(pages(fake, pattern))) == expected
    assert fake.listings <= most


def test_a_name_with_the_signs_of_a_pattern_is_first_a_name(fake: FakeS3) -> None:
    fake.objects = {"a[1].gz": b"x", "a1.gz": b"x", "b*/x": b"x", "bc/x": b"x"}
    assert keys(pages(fake, "a[1].gz")) == ["a[1].gz"]
    assert keys(pages(fake, "b*/")) == ["b*/x"]
    assert keys(pages(fake, "a[1]*")) == ["a1.gz"]
    assert keys(pages(fake, "b?/x")) == ["b*/x", "bc/x"]


@pytest.mark.parametrize("name", ["logs", "logs/", "logs/v1.2", "logs/v1.2/"])
def test_a_folder_may_be_named_with_or_without_its_slash(fake: FakeS3, name: str) -> None:
    fake.objects = {"logs/v1.2/x": b"x", "logs2/x": b"x"}
    assert keys(pages(fake, name)) == ["logs/v1.2/x"]


def test_an_object_without_a_suffix_can_be_named(fake: FakeS3) -> None:
    fake.objects = {"logs/x": b"x", "logs/xy": b"x"}
    assert keys(pages(fake, "logs/x")) == ["logs/x"]


@pytest.mark.parametrize("key", ["logs/2026-", "none", "none/", "none.gz", "lo*/2027*", "logs/x/*"])
def test_what_names_nothing_is_said_with_what_to_write(fake: FakeS3, key: str) -> None:
    fake.objects = {"logs/2026-11-25/x": b"x"}
    with pytest.raises(
        InputUnreadable, match=r"no object matches .*nothing is there yet.*with a star"
    ):
        pages(fake, key)


def test_days_that_are_all_too_old_are_no_mistake(fake: FakeS3) -> None:
    fake.keys = days(60)
    assert pages(fake, "logs/", date(2027, 1, 1)) == []
    fake.keys = days(2)
    assert pages(fake, "logs/", date(2027, 1, 1)) == []


# keys that cannot be read


def test_a_folder_with_a_key_that_cannot_be_read_is_lost_and_said_and_the_others_are_not(
    fake: FakeS3,
) -> None:
    fake.keys = sorted([*days(60), "logs/abc/2026-01-03//x.gz"])
    found = pages(fake, "logs/")
    [lost] = [page for page in found if page.failure is not None]
    assert lost.day == date(2026, 1, 3)
    assert "'logs/abc/2026-01-03//x.gz'" in str(lost.failure)
    assert "rename that object" in str(lost.failure)
    assert len(keys(found)) == 59 * 30


def test_a_small_bucket_with_such_a_key_loses_only_its_folder(fake: FakeS3) -> None:
    fake.objects = {"a/x": b"x", "b//x": b"x", "c/x": b"x", "d/.././x": b"x"}
    found = pages(fake, "")
    assert keys(found) == ["a/x", "c/x"]
    assert len([page for page in found if page.failure]) == 2


def test_a_key_that_begins_with_a_slash_is_said(fake: FakeS3) -> None:
    fake.keys = sorted([*days(60), "/x.gz"])
    found = pages(fake, "")
    assert [str(page.failure) for page in found if page.failure] == [
        f"cannot list '{ROOT}/': keys that begin with a slash cannot be read; rename these "
        "objects, or name the folders beside them"
    ]
    assert len(keys(found)) == 60 * 30


@pytest.mark.parametrize("key", ["logs//x.gz", "/x", "a/../b"])
def test_such_a_key_that_is_named_is_refused_before_anything_is_asked(
    fake: FakeS3, key: str
) -> None:
    with pytest.raises(InputUnreadable, match="the client of the store takes no such key"):
        pages(fake, key)
    assert fake.requests == []

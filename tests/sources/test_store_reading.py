"""Objects that are cut, slow, replaced or deleted while they are read; on a fake."""

import gzip
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec import structs
from sources.fake_s3 import BUCKET, Answer, FakeS3, Request, answer_of, error

from loader.errors import InputUnreadable
from loader.sources.connect import Patience, StoreOptions
from loader.sources.page import InputFile, ObjectChanged, ObjectGone
from loader.sources.store import Bucket, StoredObject
from loader.sources.unpack import unpack
from loader.sources.urls import read_url

_HASTE = Patience(retries=3, read_seconds=0.5, most_pause=0.02)
ROOT = f"s3://{BUCKET}/"
DATA = random.Random(1).randbytes(3_000_000)
KEY = "a.gz"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with FakeS3({KEY: DATA}) as server:
        yield server


@pytest.fixture
def bucket(fake: FakeS3) -> Bucket:
    return Bucket(read_url(ROOT), StoreOptions(endpoint=fake.url), _HASTE)


def listed(bucket: Bucket) -> InputFile:
    [page] = bucket.pages(ROOT)
    [file] = page.files
    return file


def opened(bucket: Bucket) -> StoredObject:
    return bucket.open(listed(bucket))


def cut(fake: FakeS3, *, times: int, at: int = 1_000_000) -> Callable[[Request], Answer | None]:
    """Shut the connection of the first reads in the middle."""

    def fault(asked: Request) -> Answer | None:
        if asked.key != KEY or asked.number > times:
            return None
        return answer_of(fake.objects[KEY], fake.etag(KEY), asked.headers.get("Range"), at)

    return fault


def test_a_read_that_is_cut_goes_on_at_the_next_byte(fake: FakeS3, bucket: Bucket) -> None:
    fake.fault = cut(fake, times=2)
    with opened(bucket) as stored:
        assert stored.read() == DATA
    spans = [asked.headers.get("Range") for asked in fake.requests if asked.key]
    assert spans[0] is None
    assert len(spans) == 3
    assert all(asked.headers["If-Match"] == fake.etag(KEY) for asked in fake.requests if asked.key)


def test_a_read_that_is_cut_goes_on_behind_an_overload(fake: FakeS3, bucket: Bucket) -> None:
    cutting = cut(fake, times=1)

    def fault(asked: Request) -> Answer | None:
        if asked.key and asked.number in (2, 3):
            return error(503, "SlowDown")
        return cutting(asked)

    fake.fault = fault
    with opened(bucket) as stored:
        assert stored.read() == DATA


def test_a_read_that_is_cut_every_time_is_given_up(fake: FakeS3, bucket: Bucket) -> None:
    fake.fault = cut(fake, times=1_000, at=10_000)
    with opened(bucket) as stored, pytest.raises(InputUnreadable) as broken:
        stored.read()
    assert str(broken.value) == (
        f"cannot read '{ROOT}{KEY}': the connection broke, at every try; load again later"
    )


def test_an_object_that_is_replaced_while_it_is_read_is_not_joined_from_two(
    fake: FakeS3, bucket: Bucket
) -> None:
    fake.fault = cut(fake, times=1)
    stored = opened(bucket)
    begin = stored.read1(1_000)
    fake.objects[KEY] = DATA[::-1]
    with pytest.raises(ObjectChanged):
        stored.read()
    assert begin == DATA[:1_000]
    assert opened(bucket).read() == DATA[::-1]


def test_without_a_version_an_object_is_opened_as_it_is_now(fake: FakeS3, bucket: Bucket) -> None:
    """So one that has changed is read once more."""
    old = listed(bucket)
    fake.objects[KEY] = DATA[::-1]
    with bucket.open(structs.replace(old, version=None)) as stored:
        assert stored.file == listed(bucket) != old
        assert stored.read() == DATA[::-1]


def test_an_object_that_is_deleted_while_it_is_read_is_gone(fake: FakeS3, bucket: Bucket) -> None:
    fake.fault = cut(fake, times=1)
    stored = opened(bucket)
    del fake.objects[KEY]
    with pytest.raises(ObjectGone):
        stored.read()


def test_a_right_that_is_taken_while_an_object_is_read_is_said(
    fake: FakeS3, bucket: Bucket
) -> None:
    fake.fault = cut(fake, times=1)
    stored = opened(bucket)
    cutting = fake.fault
    fake.fault = lambda asked: error(403, "AccessDenied") if asked.number > 1 else cutting(asked)
    with pytest.raises(InputUnreadable, match="s3:GetObject"):
        stored.read()


def test_a_reader_may_pause_for_longer_than_the_store_may(fake: FakeS3, bucket: Bucket) -> None:
    with opened(bucket) as stored:
        begin = stored.read(10)
        time.sleep(1.2)  # the store may be silent for 0.5
        assert begin + stored.read() == DATA
    assert len([asked for asked in fake.requests if asked.key]) == 1


def test_a_store_that_is_silent_at_first_is_asked_again(fake: FakeS3, bucket: Bucket) -> None:
    file = listed(bucket)
    fake.fault = lambda asked: Answer(200, b"", delay=0.8) if asked.number == 1 else None
    with bucket.open(file) as stored:
        assert stored.read() == DATA


def test_pieces_are_as_they_are_asked_for(fake: FakeS3, bucket: Bucket) -> None:
    with opened(bucket) as stored:
        assert stored.read1(0) == b""
        assert stored.read(3) == DATA[:3]
        piece = stored.read1(1_000_000)
        assert piece == DATA[3 : 3 + len(piece)] != b""
        rest = stored.read(-1)
        assert DATA[:3] + piece + rest == DATA
        assert stored.read() == stored.read1() == b""
    assert stored.read() == b""


def test_a_packed_object_is_unpacked_from_its_stream(fake: FakeS3, bucket: Bucket) -> None:
    fake.objects = {KEY: gzip.compress(b'{"a":1}\n' * 500_000)}
    fake.fault = cut(fake, times=1, at=5_000)
    with opened(bucket) as stored:
        assert sum(map(len, unpack(stored, b"\x1f\x8b"))) == 4_000_000


def test_threads_share_a_bucket(fake: FakeS3, bucket: Bucket) -> None:
    fake.objects = {f"{number:03d}": b"%03d" % number * 1_000 for number in range(100)}
    [page] = bucket.pages(ROOT)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda file: bucket.open(file).read(), page.files))
    assert read == list(fake.objects.values())


def test_local_files_do_not_wait_for_the_library() -> None:
    """Importing it takes longer than a small load."""
    script = (
        "import sys, loader.sources.store, loader.sources.inputs;"
        "print(*sorted({'obstore', 'boto3', 'botocore', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []

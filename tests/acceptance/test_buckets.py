"""Loads of objects in buckets, by the command line, from real servers of three stores."""

import dataclasses
import gzip
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from acceptance.harness import Database, Result, ndjson, track
from sources.fake_s3 import Answer, FakeS3, Request, answer_of, error
from sources.stores import Served, azurite, fake_gcs, moto_s3

FOLDER = "segment-logs/abc123"
TODAY = datetime.now(UTC).date()
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def s3() -> Iterator[Served]:
    with moto_s3() as found:
        yield found


class Job:
    """The job of one test: a folder of its own in the bucket, and the settings for it."""

    def __init__(self, run: Callable[..., Result], served: Served, cwd: Path, folder: str) -> None:
        self._run, self._cwd = run, cwd
        self.served, self.prefix = served, f"{served.root}{folder}/"
        self.folder, self._count = folder, 0
        self.configure()

    def configure(self, **source: Any) -> None:
        """The settings; other values of the source are given."""
        storage = {"endpoint": self.served.endpoint, **self.served.options}
        values = {"name": "Customer.io", "inputs": [self.prefix], **source}
        lines = ["[[source]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        lines += [f'[storage."{self.served.root}"]']
        lines += [f"{key} = {json.dumps(value)}" for key, value in storage.items()]
        (self._cwd / "loader.toml").write_text("\n".join(lines) + "\n")

    def put(self, day: date, name: str = "a.gz", records: int = 1) -> str:
        """An object in the folder of a day, with records that no other one has; its key."""
        ids = [f"m{self._count + n}" for n in range(records)]
        self._count += records
        data = gzip.compress(ndjson(*(track("Email Opened", messageId=one) for one in ids)))
        key = f"{self.folder}/{day.isoformat()}/{name}"
        self.served.put(key, data)
        return key

    def run(self, *arguments: str) -> Result:
        # Of a bucket that nothing is set for, too, this machine alone is asked.
        env = self.served.env | {"AWS_ENDPOINT_URL": self.served.endpoint}
        return self._run(*arguments, env=env, cwd=self._cwd)

    def load(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        result = self.run("load", "--json", *arguments)
        assert result.code == code, result.err
        found: dict[str, Any] = result.json
        return found

    def new(self, *arguments: str, code: int = 0) -> tuple[int, int]:
        """How many files a load has read and how many it has looked up."""
        found = self.load(*arguments, code=code)
        return found["files"], found["files"] + found["files_skipped"]


@pytest.fixture
def job(
    run: Callable[..., Result], s3: Served, tmp_path: Path, request: pytest.FixtureRequest
) -> Job:
    return Job(run, s3, tmp_path, f"{FOLDER}/{abs(hash(request.node.name))}")


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


# what is loaded


@pytest.mark.parametrize("store", [moto_s3, fake_gcs, azurite])
def test_a_bucket_loads_once_and_then_what_is_new_or_changed(
    store: Callable[[], Any], run: Callable[..., Result], db: Database, tmp_path: Path
) -> None:
    with store() as served:
        job = Job(run, served, tmp_path, "logs")
        for days in range(3):
            job.put(ago(days), records=5)
        odd = [f"{job.folder}/{TODAY}/{name}" for name in ("a b.gz", "a+b.gz", "ü%20.gz", "a?#.gz")]
        for number, key in enumerate(odd):
            served.put(key, ndjson(track("Email Opened", messageId=f"odd{number}")))
        assert job.load()["rows_loaded"] == 19
        assert job.new() == (0, 7)
        uris = {uri for (uri,) in db.rows("SELECT uri FROM _files")}
        assert {served.root + key for key in odd} <= uris

        job.put(TODAY, "new.gz")
        served.put(odd[0], ndjson(*(track("Email Opened", messageId=f"odd{n}") for n in (0, 9))))
        found = job.load()
        assert (found["files"], found["rows_loaded"], found["duplicates"]) == (2, 2, 1)
        assert job.load(served.root + odd[3])["files_skipped"] == 1
        served.delete(odd[0])
        assert job.new() == (0, 7)


def test_a_load_that_was_killed_within_an_object_goes_on_behind_its_last_batch(
    job: Job, db: Database, start: Callable[..., "Popen[bytes]"], tmp_path: Path
) -> None:
    job.put(TODAY, records=200_000)
    env = job.served.env | {"LOADER_BATCH_RECORDS": "10000"}
    process = start("load", url=db.url, env=env, cwd=tmp_path)
    while db.value("SELECT count(*) FROM tracks") < 20_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = db.value("SELECT records_done FROM _files")
    assert 20_000 <= done < 200_000
    found = job.load()
    assert (found["duplicates"], found["rows_loaded"]) == (0, 200_000 - done)
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM tracks") == [(200_000, 200_000)]


def test_what_is_no_event_is_left_out_and_told(job: Job, db: Database) -> None:
    """As the object that Segment puts beside its archive to try the bucket."""
    job.put(TODAY)
    job.served.put(f"{job.folder}/dummy-object.txt", b"just to see if it works\n")
    job.served.put(f"{job.folder}/{TODAY}/index.csv", gzip.compress(b"a,b\n1,2\n3,4\n"))
    job.served.put(f"{job.folder}/{TODAY}/old.gz", b"{")
    job.configure(exclude=["old.*"])
    found = job.load()
    assert sorted(found["not_events"].values()) == ["CSV", "text without JSON"]
    assert (found["rows_loaded"], found["rejects"]) == (1, 0)
    assert job.new() == (0, 3)
    db.execute("UPDATE _loads SET loader_version = '0.1.9'")
    assert job.new() == (2, 3)  # a newer loader judges anew


def test_an_object_that_is_named_is_expected_to_hold_events(job: Job) -> None:
    key = f"{job.folder}/a.csv"
    job.served.put(key, b"a,b\n1,2\n3,4\n")
    job.configure(exclude=["*.csv"])  # does not count for what is named
    for _ in range(2):
        [error] = job.load(job.served.root + key, code=1)["errors"]
        assert "holds no events (it looks like CSV)" in error


@pytest.mark.parametrize(
    ("input_", "files", "excluded"),
    [("", 2, 3), ("*", 2, 3), ("**", 2, 3), ("*.json", 1, 1), ("**/*.json", 2, 1), ("x[1]/", 1, 1)],
)
def test_patterns_begin_at_the_folder_or_before_the_wildcards_of_a_glob(
    job: Job, input_: str, files: int, excluded: int
) -> None:
    for name in ("a.json", "old.json", "a.csv", "x[1]/a.json", "x[1]/a.csv"):
        job.served.put(f"{job.folder}/{name}", b"{}")
    job.configure(inputs=[job.prefix + input_], exclude=["*.csv", "/old.*"])
    [one] = json.loads(job.run("inputs", "--json").out)
    assert (files, excluded) == (one["files"], one["excluded_files"])


def test_inputs_says_what_a_load_would_read(job: Job) -> None:
    job.put(ago(9), records=3)
    job.put(TODAY)
    [one] = json.loads(job.run("inputs", "--json").out)
    assert (one["files"], one["new_files"], one["finished_files"]) == (2, 2, 0)
    assert (one["first_day"], one["last_day"]) == (str(ago(9)), str(TODAY))
    job.load()
    job.put(TODAY, "b.gz")
    shown = job.run("inputs").out
    assert job.prefix in shown
    assert f"{ago(9)} to {TODAY}" in shown
    [one] = json.loads(job.run("inputs", "--json").out)
    assert (one["files"], one["new_files"], one["finished_files"]) == (3, 1, 2)
    assert one["new_bytes"] < one["bytes"]


# which folders are listed


def test_only_the_last_days_are_listed_and_all_of_them_once_a_week(job: Job, db: Database) -> None:
    for days in range(10):
        job.put(ago(days))
    assert job.new() == (10, 10)
    assert db.value("SELECT day FROM _listings") == TODAY
    assert job.new() == (0, 4)
    job.put(ago(9), "from behind.gz")
    job.put(ago(3), "late.gz")
    assert job.new() == (1, 5)
    db.execute("UPDATE _listings SET listed_at = now() - interval '8 days'")
    assert job.new() == (1, 12)
    assert job.new() == (0, 5)
    job.put(ago(8), "from behind.gz")
    assert job.new("--full-listing") == (1, 13)


def test_what_is_loaded_by_hand_hides_nothing(job: Job, db: Database) -> None:
    """A load of today's folder, and then the configured one of all days."""
    for days in (0, 1, 20):
        job.put(ago(days))
    assert job.new(f"{job.prefix}{TODAY}/") == (1, 1)
    assert db.rows("SELECT * FROM _listings") == []
    assert job.new() == (2, 3)
    for days in (0, 1, 20):
        job.put(ago(days), "b.gz")
    assert job.new(job.prefix) == (3, 6)
    assert job.new() == (0, 4)


def test_a_folder_of_the_future_hides_nothing(job: Job, db: Database) -> None:
    job.put(date(2099, 1, 1))
    job.put(ago(1))
    assert job.new() == (2, 2)
    assert db.value("SELECT day FROM _listings") == ago(1)
    job.put(TODAY)
    assert job.new() == (1, 3)


def test_another_selection_lists_everything(job: Job) -> None:
    for days in (0, 20):
        job.put(ago(days), "a.json")
        job.put(ago(days), "b.gz")
    job.configure(include=["*.json"])
    assert job.new() == (2, 2)
    assert job.new() == (0, 1)
    job.configure()
    assert job.new() == (2, 4)
    job.configure(include=["*.json"])
    assert job.new() == (0, 1)


def test_an_object_that_cannot_be_read_for_long_is_read_when_it_can_be(
    job: Job, db: Database
) -> None:
    job.put(ago(20))
    key = job.put(ago(10), "broken.gz", records=1_000)
    whole = gzip.compress(ndjson(*(track("Email Opened", messageId=f"w{n}") for n in range(9))))
    job.served.put(key, whole[:60])
    job.put(TODAY)
    for _ in range(2):
        job.new(code=1)
        assert db.value("SELECT day FROM _listings") == ago(10)
    job.served.put(key, whole)
    assert job.load()["rows_loaded"] == 9
    assert db.value("SELECT day FROM _listings") == TODAY
    assert job.new() == (0, 1)


def test_a_load_that_is_stopped_remembers_nothing(
    job: Job, db: Database, start: Callable[..., "Popen[bytes]"], tmp_path: Path
) -> None:
    job.put(ago(20), records=100_000)
    job.put(TODAY)
    env = job.served.env | {"LOADER_BATCH_RECORDS": "5000"}
    process = start("load", url=db.url, env=env, cwd=tmp_path)
    while db.value("SELECT count(*) FROM tracks") < 5_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert db.rows("SELECT * FROM _listings") == []
    assert job.new() == (2, 2)


def test_inputs_that_overlap_read_each_object_once(job: Job) -> None:
    job.put(TODAY)
    job.put(ago(1))
    job.configure(inputs=[job.prefix, f"{job.prefix}*", f"{job.prefix}{TODAY}/a.gz"])
    assert job.new() == (2, 2)


def test_a_folder_beside_the_days_that_cannot_be_listed_lets_no_day_be_forgotten(
    run: Callable[..., Result], db: Database, tmp_path: Path
) -> None:
    """A key with an empty part costs its folder; what else is in there may be of any day."""
    record = gzip.compress(ndjson(track("Email Opened", messageId="f1")))
    with FakeS3({f"logs/{day}/a.gz": record for day in (TODAY, ago(1))}) as fake:
        served = Served(root="s3://events/", endpoint=fake.url, env=AWS, put=print, delete=print)
        job = Job(run, served, tmp_path, "logs")
        fake.objects[f"logs/other/{ago(20)}/a.gz"] = record
        fake.objects["logs/other//a.gz"] = record
        result = job.run("load", "--json")
        assert (result.code, db.rows("SELECT * FROM _listings")) == (1, [])
        del fake.objects["logs/other//a.gz"]
        assert job.new() == (1, 3)
        assert db.value("SELECT day FROM _listings") == TODAY


def test_old_objects_that_a_stopped_load_has_left_are_read_by_the_next_one(
    job: Job, db: Database, start: Callable[..., "Popen[bytes]"], tmp_path: Path
) -> None:
    """One that listed everything because it was told to, and one of a path by hand."""
    job.put(TODAY)
    assert job.new() == (1, 1)
    job.put(ago(20), "a.gz", records=100_000)
    job.put(ago(20), "b.gz")
    env = job.served.env | {"LOADER_BATCH_RECORDS": "5000"}
    process = start("load", "--full-listing", url=db.url, env=env, cwd=tmp_path)
    while db.value("SELECT count(*) FROM tracks") < 6_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert job.new() == (2, 3)
    assert db.value("SELECT count(*) FROM tracks") == 100_002
    key = job.put(ago(30), "cut.gz", records=9)
    whole = gzip.compress(ndjson(*(track("Email Opened", messageId=f"w{n}") for n in range(9))))
    job.served.put(key, whole[:-20])
    assert job.new(f"{job.prefix}{ago(30)}/", code=1) == (1, 1)
    job.served.put(key, whole)
    assert (
        job.load()["rows_loaded"]
        + db.value(
            "SELECT count(*) FROM tracks WHERE id LIKE 'w%%' AND uuid_ts < (SELECT max(started_at) "
            "FROM _loads)"
        )
        == 9
    )


def test_a_clock_that_was_wrong_hides_nothing_for_long(job: Job, db: Database) -> None:
    for days in (0, 20):
        job.put(ago(days))
    for wrong in ("listed_at = now() + interval '9 years'", "day = '2099-01-01'"):
        job.new()
        db.execute(f"UPDATE _listings SET {wrong}")
        job.put(ago(20), f"{len(wrong)}.gz")
        assert job.new()[0] == 1
        assert db.value("SELECT day FROM _listings") == TODAY


# what goes wrong


def test_a_file_behind_one_that_is_deleted_while_it_is_read_is_counted_alone(
    run: Callable[..., Result], db: Database, tmp_path: Path
) -> None:
    """Blocks of the first one were counted as of the second, so that a killed load lost events."""
    ids = [f"{n:06}{os.urandom(20).hex()}" for n in range(50_000)]  # of which little can be packed
    half = len(ids) // 2
    first, second = (
        gzip.compress(ndjson(*(track("Email Opened", messageId=one) for one in some)), 1)
        for some in (ids[:half], ids[half:])
    )
    with FakeS3({"logs/a.gz": first, "logs/b.gz": second}) as fake:
        served = Served(root="s3://events/", endpoint=fake.url, env=AWS, put=print, delete=print)
        job = Job(run, served, tmp_path, "logs")

        def delete(request: Request) -> Answer | None:
            if request.key != "logs/a.gz":
                return None
            if request.number > 1:
                return error(404, "NoSuchKey")
            return answer_of(first, fake.etag("logs/a.gz"), cut_at=len(first) * 9 // 10)

        assert run("load", "-", stdin=ndjson(track("Email Sent", messageId="before"))).code == 0
        fake.fault = delete
        result = job.run("load", "--json")
        assert (result.code, result.json["status"]) == (1, "partial")
        assert "was deleted while it was read" in result.err
        done = dict(db.rows("SELECT uri, records_done FROM _files WHERE uri LIKE 's3%%'"))
        assert done["s3://events/logs/b.gz"] == half
        assert 0 < done["s3://events/logs/a.gz"] < half
        assert result.json["rows_loaded"] == sum(done.values())


def test_an_empty_object_in_place_of_a_folder_hides_no_folder(job: Job) -> None:
    job.served.put(f"{job.folder}/v1.2", b"")
    key = f"{job.folder}/v1.2/{TODAY}/a.gz"
    job.served.put(key, gzip.compress(ndjson(track("Email Opened", messageId="below"))))
    assert job.new(f"{job.prefix}v1.2") == (1, 1)


def test_an_object_that_changes_is_read_once_more_and_one_that_is_gone_is_counted(
    run: Callable[..., Result], db: Database, tmp_path: Path
) -> None:
    def data(*ids: str) -> bytes:
        return gzip.compress(ndjson(*(track("Email Opened", messageId=one) for one in ids)))

    objects = {f"logs/{name}.gz": data(name) for name in ("a", "changes", "goes", "z")}
    with FakeS3(objects) as fake:
        served = Served(root="s3://events/", endpoint=fake.url, env=AWS, put=print, delete=print)
        job = Job(run, served, tmp_path, "logs")

        def replace(request: Request) -> None:
            if not request.key:
                return
            fake.objects.pop("logs/goes.gz", None)
            fake.objects["logs/changes.gz"] = data("changes", "new")

        fake.fault = replace
        found = job.load()
        assert (found["rows_loaded"], found["files_gone"], found["errors"]) == (4, 1, [])
        assert "logs/goes.gz" in found["warnings"][0]
        assert job.new() == (0, 3)


def test_an_input_that_cannot_be_listed_costs_no_other_one(job: Job) -> None:
    job.put(TODAY)
    job.configure(inputs=["s3://no-such-bucket/logs/", job.prefix])
    result = job.run("load", "--json")
    assert (result.code, result.json["rows_loaded"]) == (1, 1)
    assert "there is no bucket 'no-such-bucket'" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://key:secret@bucket/logs/", "has credentials in it"),
        ("ftp://host/logs", "is no scheme of a store"),
        ("s3://", "names no bucket"),
        ("s3:/key:secret@bucket", "is no address of a store"),
        ("gs://bucket?access_token=key:secret", "has credentials in it"),
    ],
)
def test_a_url_that_cannot_be_meant_is_wrong_use(job: Job, url: str, words: str) -> None:
    result = job.run("load", url)
    assert result.code == 2
    assert words in result.err
    assert "key:secret" not in result.err + result.out


def test_settings_of_a_bucket_that_cannot_be_used_are_told_before_anything_is_done(
    job: Job, db: Database, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    job.put(TODAY)
    options = {"ca_file": str(tmp_path / "ca.pem")}
    job.served = dataclasses.replace(job.served, options=options)
    job.configure()
    result = job.run("load")
    assert (result.code, "holds no certificate in PEM form" in result.err) == (2, True)
    assert db.rows("SELECT * FROM _loads") == []


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_secret_in_an_endpoint_is_not_repeated(
    run: Callable[..., Result], db: Database, name: str
) -> None:
    env = AWS | {name: "http://user:s3cr3t@127.0.0.1:9"}
    result = run("load", "s3://bucket/logs/", env=env)
    assert (result.code, "s3cr3t" in result.err) == (2, False)
    assert name in result.err


def test_check_reads_one_object(job: Job) -> None:
    job.put(TODAY)
    result = job.run("check")
    assert f"input {job.prefix}: at least 1 file" in result.out
    assert "looks like events" in result.out
    job.configure(inputs=[f"{job.served.root}nothing/"])
    result = job.run("check")
    assert (result.code, "no object matches" in result.out) == (1, True)

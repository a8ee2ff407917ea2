"""What is said where a store cannot be listed or read: one sentence, with what to do."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sources.fake_s3 import BUCKET, Answer, FakeS3, error

from loader.errors import InputUnreadable, UsageError
from loader.sources.connect import Patience, StoreOptions, connect
from loader.sources.page import InputFile, ObjectChanged, ObjectGone
from loader.sources.store import Bucket
from loader.sources.store_errors import explain
from loader.sources.urls import read_url

_HASTE = Patience(retries=1, read_seconds=0.5, most_pause=0.02)
ROOT = f"s3://{BUCKET}/"
FILE = InputFile(uri=ROOT + "a.gz", size=3, modified=None, version=None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    with FakeS3({"a.gz": b"abc"}) as server:
        yield server


def sentence(call: Callable[[], object], kind: type[Exception] = InputUnreadable) -> str:
    """What is said; never with a secret, an address of a request or debug text in it."""
    with pytest.raises(kind) as raised:
        call()
    said = str(raised.value)
    assert not re.search(r"s3cr3t|AKIA|list-type|RetryError|Debug source|\n", said)
    return said


def bucket_of(fake: FakeS3, url: str = ROOT) -> Bucket:
    return Bucket(read_url(url), StoreOptions(endpoint=fake.url), _HASTE)


def on_list(fake: FakeS3, url: str = ROOT) -> str:
    return sentence(lambda: list(bucket_of(fake, url).pages(url)))


def on_read(fake: FakeS3, kind: type[Exception] = InputUnreadable) -> str:
    return sentence(lambda: bucket_of(fake).open(FILE), kind)


_IN_REGION = f'; set region = "eu-west-1" below [storage."s3://{BUCKET}"], or AWS_REGION'
_WRONG_REGION = "the bucket is in eu-west-1, and the job asked us-east-1" + _IN_REGION
_ENDED = (
    "the session of the credentials has ended (ExpiredToken); log in again, or give the job "
    "credentials that are renewed"
)
_CLOCK = "the clock of this machine is wrong; set it, or have it set by NTP"
_BOTH = [
    (error(400, "ExpiredToken", "The provided token has expired."), _ENDED),
    (error(403, "RequestTimeTooSkewed"), _CLOCK),
    (
        error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
        _WRONG_REGION,
    ),
    (
        error(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"),
        _WRONG_REGION,
    ),
    (
        error(301, "PermanentRedirect"),
        "the bucket is in another region, and the job asked us-east-1"
        + _IN_REGION.replace("eu-west-1", "..."),
    ),
    (
        error(403, "SignatureDoesNotMatch", "AKIAEXAMPLE is not right"),
        "the store does not accept the credentials (SignatureDoesNotMatch); check whether they "
        "are those of this store, and whole",
    ),
    (
        error(503, "SlowDown"),
        "the store failed or was overloaded, at every try (SlowDown); load again later",
    ),
    (
        Answer(500, b"oops"),
        "the store failed or was overloaded, at every try (500); load again later",
    ),
    (
        error(400, "Strange", "AKIAEXAMPLE"),
        "the store refused the request (Strange); check the settings of it",
    ),
]


@pytest.mark.parametrize(("answer", "said"), _BOTH, ids=[said[:40] for _, said in _BOTH])
def test_a_refusal_is_explained_where_a_folder_is_listed_and_an_object_is_read(
    fake: FakeS3, answer: Answer, said: str
) -> None:
    fake.fault = lambda _: answer
    assert on_list(fake) == f"cannot list '{ROOT}': {said}"
    assert on_read(fake) == f"cannot read '{ROOT}a.gz': {said}"


def test_a_missing_right_is_said_with_the_action_to_grant(fake: FakeS3) -> None:
    fake.fault = lambda _: error(403, "AccessDenied")
    assert on_list(fake) == (
        f"cannot list '{ROOT}': the credentials lack the right to do so (AccessDenied); grant "
        "the action s3:ListBucket on the bucket"
    )
    assert on_read(fake) == (
        f"cannot read '{ROOT}a.gz': the credentials lack the right to do so (AccessDenied); "
        "grant the action s3:GetObject on the objects, and kms:Decrypt on the key of yours if "
        "they are encrypted with one"
    )


def test_an_archived_object_is_said(fake: FakeS3) -> None:
    fake.fault = lambda _: error(403, "InvalidObjectState")
    assert on_read(fake) == (
        f"cannot read '{ROOT}a.gz': it is archived, and can be read only when it was restored; "
        "restore it, or leave it out of the inputs"
    )


def test_a_bucket_that_is_not_there_is_said(fake: FakeS3) -> None:
    said = ": there is no bucket 'none'; check its name, and `endpoint` and `region` of its store"
    assert on_list(fake, "s3://none/logs/") == "cannot list 's3://none/logs'" + said
    assert on_list(fake, "s3://none/a.gz") == "cannot read 's3://none/a.gz'" + said


def test_who_may_read_but_not_list_can_name_an_object(fake: FakeS3) -> None:
    fake.objects["plain"] = b"x"
    fake.fault = lambda asked: None if asked.key else error(403, "AccessDenied")
    for key in ("a.gz", "plain"):
        [page] = bucket_of(fake).pages(ROOT + key)
        assert [file.uri for file in page.files] == [ROOT + key]
    assert "s3:ListBucket" in on_list(fake, ROOT + "none")


def test_a_pattern_that_matches_nothing_is_no_lack_of_a_right(fake: FakeS3) -> None:
    """To ask for an object of that very name is refused, too."""
    fake.fault = lambda asked: error(403, "AccessDenied") if asked.key else None
    assert "no object matches" in on_list(fake, ROOT + "b*.gz")


def test_an_object_that_has_changed_or_is_gone_has_an_error_of_its_own(fake: FakeS3) -> None:
    fake.fault = lambda _: error(412, "PreconditionFailed")
    assert on_read(fake, ObjectChanged) == (
        f"'{ROOT}a.gz' has changed since it was listed: the next load reads it from its start"
    )
    fake.fault = lambda _: error(404, "NoSuchKey")
    assert on_read(fake, ObjectGone) == (
        f"'{ROOT}a.gz' is not there any more: it was deleted or has expired"
    )


# nobody answers


def test_a_store_that_cannot_be_reached_is_said(fake: FakeS3) -> None:
    bucket = Bucket(read_url(ROOT), StoreOptions(endpoint="http://127.0.0.1:9"), _HASTE)
    assert sentence(lambda: list(bucket.pages(ROOT))) == (
        f"cannot list '{ROOT}': http://127.0.0.1:9 cannot be reached; check `endpoint` of its "
        "storage, the network, and a proxy"
    )


def test_a_name_that_is_not_known_is_said() -> None:
    """As the library says it; a test asks no server for names."""
    place = connect(read_url(ROOT), StoreOptions(endpoint="https://minio.example"), _HASTE)[1]
    met = Exception('HTTP error: error sending request\n\nDebug source: ConnectError("dns error")')
    assert str(explain(met, "list", "logs", place)) == (
        f"cannot list '{ROOT}logs': the name of https://minio.example is not known; check "
        "`endpoint`, and the network"
    )


def test_a_store_that_is_silent_is_said(fake: FakeS3) -> None:
    fake.fault = lambda _: Answer(200, b"", delay=1.0)
    assert on_list(fake) == (
        f"cannot list '{ROOT}': {fake.url} did not answer in time; check the network, and load "
        "again"
    )


# credentials


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("s3://b", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role"),
        ("gs://b", "set GOOGLE_APPLICATION_CREDENTIALS to a file"),
        ("az://b", "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID"),
        ("abfss://b@acct.dfs.core.windows.net", "set AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_no_credentials_are_said_with_where_they_come_from(
    url: str, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without any, the client asks the machine's own address for them, where nobody answers."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acct")
    monkeypatch.setenv("HOME", str(tmp_path))
    bucket = Bucket(read_url(url), StoreOptions(endpoint="http://127.0.0.1:9/acct"), _HASTE)
    said = sentence(lambda: list(bucket.pages(url)))
    assert said.startswith(f"cannot list '{bucket.root}': no credentials were found; {advice}")


def test_a_public_bucket_is_asked_without_any(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    options = StoreOptions(endpoint=fake.url, anonymous=True)
    [page] = Bucket(read_url(ROOT), options, _HASTE).pages(ROOT)
    assert len(page.files) == 1
    assert "Authorization" not in fake.requests[-1].headers


def test_an_account_that_is_not_named_is_asked_for() -> None:
    assert sentence(lambda: Bucket(read_url("az://box")), UsageError) == (
        "the store of 'az://box/' cannot be used: no account is named: set "
        "AZURE_STORAGE_ACCOUNT_NAME, or write abfss://container@account.dfs.core.windows.net/key"
    )


def test_a_broken_file_of_credentials_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key.json").write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    said = sentence(lambda: Bucket(read_url("gs://b")), UsageError)
    assert said.startswith("the store of 'gs://b/' cannot be used: ")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert "none.json" in sentence(lambda: Bucket(read_url("gs://b")), UsageError)


def test_a_refused_request_for_credentials_is_no_lack_of_them(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acct")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", fake.url)
    fake.fault = lambda _: Answer(403, b"{}")
    bucket = Bucket(read_url("az://b"), StoreOptions(endpoint="http://127.0.0.1:9/acct"), _HASTE)
    said = sentence(lambda: list(bucket.pages("az://b")))
    assert "the request for credentials was refused (403)" in said


def test_a_secret_with_a_line_break_is_refused_before_it_is_used(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t\n")
    said = sentence(lambda: bucket_of(fake), UsageError)
    assert said.startswith("the environment variable AWS_SECRET_ACCESS_KEY has a line break")


# where the store is


def test_the_endpoint_may_come_from_the_environment(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    options = StoreOptions(endpoint=fake.url)  # comes first
    assert list(Bucket(read_url(ROOT), options, _HASTE).pages(ROOT))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fake.url)
    assert list(Bucket(read_url(ROOT), None, _HASTE).pages(ROOT))


def test_a_store_is_asked_without_tls_only_where_its_endpoint_says_so(fake: FakeS3) -> None:
    options = StoreOptions(endpoint=fake.url.replace("http:", "https:"))
    bucket = Bucket(read_url(ROOT), options, _HASTE)
    assert "cannot be reached" in sentence(lambda: list(bucket.pages(ROOT)))
    assert fake.requests == []


def test_the_bucket_may_stand_in_the_name_of_the_host() -> None:
    options = StoreOptions(endpoint="https://store.example:9000", path_style=False)
    store, place = connect(read_url(ROOT), options, _HASTE)
    assert store.config["endpoint"] == f"https://{BUCKET}.store.example:9000"
    assert place.endpoint == "https://store.example:9000"

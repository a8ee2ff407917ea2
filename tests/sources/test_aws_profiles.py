"""Credentials of `~/.aws`: which come first, and how they are renewed; on a fake store."""

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sources.fake_s3 import BUCKET, FakeS3

from loader.errors import InputUnreadable, UsageError
from loader.sources import connect
from loader.sources.connect import Patience, StoreOptions
from loader.sources.store import Bucket
from loader.sources.urls import read_url

_HASTE = Patience(retries=0, read_seconds=2.0, most_pause=0.02)
ROOT = f"s3://{BUCKET}/"


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3({"a.gz": b"abc"}) as server:
        yield server


@pytest.fixture(autouse=True)
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like `~/.aws` with two profiles."""
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = KDEFAULT\naws_secret_access_key = s3cr3t\n"
        "[work]\naws_access_key_id = KWORK\naws_secret_access_key = s3cr3t\n"
        "aws_session_token = session\n"
    )
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def asked_as(fake: FakeS3, **options: str) -> str:
    """The key and the region with which a listing is asked for."""
    bucket = Bucket(read_url(ROOT), StoreOptions(endpoint=fake.url, **options), _HASTE)
    assert list(bucket.pages(ROOT))
    scope = fake.requests[-1].headers["Authorization"].partition("Credential=")[2].split("/")
    return f"{scope[0]} {scope[2]}"


def test_the_default_profile_is_used_where_nothing_else_is_set(fake: FakeS3) -> None:
    assert asked_as(fake) == "KDEFAULT us-east-1"


def test_a_profile_gives_its_region_too(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_as(fake, profile="work") == "KWORK eu-west-1"
    assert fake.requests[-1].headers["x-amz-security-token"] == "session"
    assert asked_as(fake, profile="work", region="eu-north-1") == "KWORK eu-north-1"
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert asked_as(fake) == "KWORK eu-west-1"
    assert asked_as(fake, profile="default") == "KDEFAULT us-east-1"


def test_keys_of_the_environment_come_before_all_but_a_profile_that_is_set(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in AWS's own tools."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert asked_as(fake).startswith("KENV")
    assert asked_as(fake, profile="work").startswith("KWORK")


def test_a_profile_that_is_not_there_is_refused(fake: FakeS3) -> None:
    with pytest.raises(UsageError, match=r"the AWS profile 'none' cannot be used: .*~/.aws/config"):
        asked_as(fake, profile="none")


def test_without_boto3_a_profile_says_what_to_install(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(UsageError, match=r"pip install 'customerio-loader\[aws\]'"):
        asked_as(fake, profile="work")
    with pytest.raises(InputUnreadable, match=r"~/.aws and SSO install customerio-loader\[aws\]"):
        asked_as(fake)


def test_credentials_of_a_program_are_renewed_well_before_they_end(
    fake: FakeS3, aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 asks the program again in the last quarter of an hour, and is asked every 5 minutes."""
    assert timedelta(minutes=1) < connect._Provider._ASK_AGAIN < timedelta(minutes=10)
    monkeypatch.setattr(connect._Provider, "_ASK_AGAIN", timedelta(0))
    program = aws / "program.py"
    program.write_text(
        "import datetime, json, pathlib\n"
        f"count = pathlib.Path({str(aws / 'count')!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=10)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'K{number}', 'SecretAccessKey': 'x',\n"
        "    'SessionToken': 'y', 'Expiration': ends.isoformat()}))\n"
    )
    command = json.dumps(f"{sys.executable} {program}")[1:-1]
    with (aws / "config").open("a") as config:
        config.write(f"[profile program]\ncredential_process = {command}\n")
    options = StoreOptions(endpoint=fake.url, profile="program")
    bucket = Bucket(read_url(ROOT), options, _HASTE)
    keys = []
    for _ in range(3):
        list(bucket.pages(ROOT))
        keys.append(fake.requests[-1].headers["Authorization"].partition("=")[2].split("/")[0])
    assert len(set(keys)) == 3


def test_a_session_that_has_ended_is_said(fake: FakeS3, aws: Path) -> None:
    """SSO without a cached token, as after its session; nothing is asked of the network."""
    with (aws / "config").open("a") as config:
        config.write(
            "[profile sso]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\n"
            "sso_account_id = 123456789012\nsso_role_name = reader\n"
        )
    with pytest.raises(InputUnreadable, match=r"there are no credentials, as .*log in again"):
        asked_as(fake, profile="sso")

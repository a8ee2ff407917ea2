"""Credentials that a cloud gives to its machines and containers, from fakes of its services."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sources.fake_identities import FakeIdentities
from sources.fake_s3 import BUCKET, FakeS3
from sources.stores import make_certificate

from loader.sources.connect import Patience, StoreOptions
from loader.sources.store import Bucket
from loader.sources.urls import read_url

_HASTE = Patience(retries=0, read_seconds=2.0, most_pause=0.02)


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3({"a.gz": b"abc"}) as server:
        yield server


@pytest.fixture
def cloud() -> Iterator[FakeIdentities]:
    with FakeIdentities() as server:
        yield server


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A file with the token of a job."""
    (tmp_path / "token").write_text("job-token")
    return str(tmp_path / "token")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No profiles, and no services but those of a test."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


def count_files(root: str, endpoint: str, **options: str) -> int:
    bucket = Bucket(read_url(root), StoreOptions(endpoint=endpoint, **options), _HASTE)
    return sum(len(page.files) for page in bucket.pages(root))


def signed_by(fake: FakeS3) -> str:
    """Who has signed the last request."""
    return fake.requests[-1].headers["Authorization"].partition("Credential=")[2].split("/")[0]


def test_an_instance_has_a_role(
    fake: FakeS3, cloud: FakeIdentities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", cloud.url)
    assert count_files(f"s3://{BUCKET}/", fake.url) == 1
    assert signed_by(fake) == "KROLE"
    assert [path for path, _ in cloud.asked] == [
        "/latest/api/token",
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/iam/security-credentials/the-role",
    ]
    assert cloud.asked[-1][1]["x-aws-ec2-metadata-token"] == "metadata-token"


def test_a_pod_has_a_role(
    fake: FakeS3, cloud: FakeIdentities, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.url}/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
    assert count_files(f"s3://{BUCKET}/", fake.url) == 1
    assert signed_by(fake) == "KROLE"
    assert cloud.asked[0][1]["authorization"] == "job-token"


def test_a_web_identity_becomes_a_role(
    fake: FakeS3, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on EKS. The library sends its token by TLS only."""
    certificate = make_certificate(tmp_path)
    with FakeIdentities(certificate) as sts:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/loader")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        authority = str(certificate.authority)
        assert count_files(f"s3://{BUCKET}/", fake.url, ca_file=authority) == 1
    assert signed_by(fake) == "KWEB"
    assert sts.asked[0][1]["WebIdentityToken"] == "job-token"
    assert sts.asked[0][1]["RoleArn"] == "arn:aws:iam::000000000000:role/loader"


def test_a_machine_of_google_has_an_account(
    fake: FakeS3, cloud: FakeIdentities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", cloud.host)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert count_files(f"gs://{BUCKET}/", fake.url) == 1
    assert fake.requests[-1].headers["Authorization"] == "Bearer bearer"
    assert cloud.asked[0][1]["metadata-flavor"] == "Google"


def test_a_machine_of_azure_has_an_identity(
    cloud: FakeIdentities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"{cloud.url}/identity")
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    assert count_files("az://events/", f"{cloud.url}/account") == 1
    assert cloud.asked[0][1]["x-identity-header"] == "secret"
    assert cloud.asked[-1][1]["authorization"] == "Bearer bearer"


def test_a_pod_on_azure_has_a_federated_identity(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    with FakeIdentities(certificate) as cloud:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_CLIENT_ID", "client")
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", token)
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", cloud.url)
        authority = str(certificate.authority)
        assert count_files("az://events/", f"{cloud.url}/account", ca_file=authority) == 1
    assert cloud.asked[0][0] == "/tenant/oauth2/v2.0/token"
    assert cloud.asked[0][1]["client_assertion"] == "job-token"
    assert cloud.asked[-1][1]["authorization"] == "Bearer bearer"

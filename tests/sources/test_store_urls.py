"""Which inputs are addresses in a store, and which addresses are refused."""

import pytest

from loader.errors import UsageError
from loader.sources.urls import Address, is_url, read_url

ABFSS = "abfss://box@acct.dfs.core.windows.net"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://b", Address("s3", "b", "", "")),
        ("s3://b/", Address("s3", "b", "", "")),
        ("s3a://b/k/", Address("s3", "b", "", "k/")),
        ("S3://b/K", Address("s3", "b", "", "K")),
        ("gs://b/a b", Address("gs", "b", "", "a b")),
        ("az://box/a%20b+c", Address("az", "box", "", "a%20b+c")),
        ("s3://b/a?b#c", Address("s3", "b", "", "a?b#c")),
        ("s3://b/ü@x:y", Address("s3", "b", "", "ü@x:y")),
        (f"{ABFSS}/k", Address("abfss", "box", "acct.dfs.core.windows.net", "k")),
    ],
)
def test_an_address_is_taken_apart_with_the_key_as_it_is(url: str, address: Address) -> None:
    assert is_url(url)
    assert read_url(url) == address


def test_the_address_of_an_object_has_one_spelling() -> None:
    assert read_url("s3a://b/a b?").url == "s3://b/a b?"
    assert read_url(f"{ABFSS}/k").url == f"{ABFSS}/k"
    assert read_url(f"{ABFSS}/k").blob_endpoint == "https://acct.blob.core.windows.net"


@pytest.mark.parametrize("path", ["-", "/data/x", "data/x", "C:\\x", "a b://c", "*.gz"])
def test_a_local_path_is_no_address(path: str) -> None:
    assert not is_url(path)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:s3cr3t@bucket/key",
        "s3://s3cr3t@bucket/key",
        "gs://me:s3cr3t@bucket",
        "abfss://box:s3cr3t@acct.dfs.core.windows.net/k",
        "az://box/key?sv=2024&se=x&sig=s3cr3t",
        "https://acct.blob.core.windows.net/box/key?sv=2024&sig=s3cr3t",
        "s3://bucket/key?X-Amz-Signature=s3cr3t",
        "s3://bucket/key?x=1&AWSAccessKeyId=s3cr3t",
        "s3://bucket?secret_access_key=s3cr3t",
        "gs://bucket/key?X-Goog-Credential=s3cr3t",
        "s3://bucket/key?session_token=s3cr3t",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    assert is_url(url)
    with pytest.raises(UsageError, match="credentials in it") as refused:
        read_url(url)
    assert "s3cr3t" not in str(refused.value)
    assert "AKIA" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("gcs://b/k", "write gs://"),
        ("https://b.s3.amazonaws.com/k", "write s3://bucket/key"),
        ("file:///data/x", "without file://"),
        ("wasbs://b/k", "write abfss://"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("abfss://box/k", "names no account"),
    ],
)
def test_an_address_of_no_store_is_refused_with_what_to_write(url: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        read_url(url)

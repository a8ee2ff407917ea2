"""The client of a store: where it is, with whose credentials, and how patient it is."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from loader.errors import UsageError
from loader.sources.store_errors import Place, refuse
from loader.sources.urls import Address, check_endpoint

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Store = S3Store | GCSStore | AzureStore


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is set for a bucket; `Storage` of the settings has the same fields."""

    endpoint: str = ""  # address of a store that is not the vendor's own
    region: str = ""
    profile: str = ""  # of ~/.aws
    ca_file: str = ""  # PEM, of the authority that signed the endpoint's certificate
    anonymous: bool = False  # no credentials: a public bucket
    path_style: bool = True  # the bucket stands in the path and not in the name of the host


class Patience(NamedTuple):
    """How long faults that may pass are borne."""

    retries: int = 8  # with pauses that grow from 0.1 to 10 seconds
    read_seconds: float = 30.0  # without a byte
    most_pause: float = 10.0


# The whole of an answer, the pauses of its reader included: an object is read as slowly as its
# rows can be written.
_LONGEST_ANSWER = timedelta(days=7)
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_DOCUMENTS = {"GOOGLE_SERVICE_ACCOUNT_KEY"}  # JSON
_BREAK = re.compile(r"[\x00-\x1f\x7f]")
# Any of these, and the library finds the credentials itself.
_OWN_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def connect(address: Address, options: StoreOptions, patience: Patience) -> "tuple[Store, Place]":
    """A client for the bucket of an address; nothing is sent yet.

    Raises UsageError where it cannot be set up.
    """
    kind = "az" if address.scheme == "abfss" else address.scheme
    _check_variables(kind)
    endpoint = options.endpoint or _endpoint_of_environment(kind) or address.blob_endpoint
    endpoint = endpoint.rstrip("/")
    place = Place(address._replace(key=""), endpoint, _region(options), lambda: "")
    client = _client_options(endpoint, options, patience)
    retry = _retry(patience)
    try:
        if kind == "s3":
            return _connect_s3(place, options, client, retry)
        if kind == "gs":
            return _connect_gcs(place, options, client, retry), place
        return _connect_azure(place, options, client, retry), place
    except UsageError:
        raise
    except Exception as error:  # the library's own have no base in common with what else it raises
        raise refuse(error, place) from error


def _endpoint_of_environment(kind: str) -> str:
    for name in _ENDPOINTS[kind]:
        if endpoint := os.environ.get(name):
            try:
                return check_endpoint(endpoint)
            except UsageError as error:
                raise UsageError(f"the environment variable {name}: {error}") from None
    return ""


def _check_variables(kind: str) -> None:
    """A secret that was read with its line break makes the library panic."""
    for name, value in os.environ.items():
        if name.startswith(_VARIABLES[kind]) and name not in _DOCUMENTS and _BREAK.search(value):
            raise UsageError(
                f"the environment variable {name} has a line break or another control character "
                "in it: set it without"
            )


def _region(options: StoreOptions) -> str:
    return (
        options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    )


def _client_options(endpoint: str, options: StoreOptions, patience: Patience) -> "ClientConfig":
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "timeout": _LONGEST_ANSWER,
        "read_timeout": timedelta(seconds=patience.read_seconds),
        "connect_timeout": timedelta(seconds=min(10.0, patience.read_seconds)),
    }
    if options.ca_file:
        try:
            client["root_certificate"] = Path(options.ca_file).expanduser().read_bytes()
        except OSError as error:
            raise UsageError(
                f"ca_file {options.ca_file!r} cannot be read: {error.strerror}"
            ) from None
        if b"-----BEGIN CERTIFICATE" not in client["root_certificate"]:
            raise UsageError(f"ca_file {options.ca_file!r} holds no certificate in PEM form")
    return client


def _retry(patience: Patience) -> "RetryConfig":
    return {
        "max_retries": patience.retries,
        # Counted from the beginning of an answer: a cut in a long one has to be mended, too.
        "retry_timeout": _LONGEST_ANSWER,
        "backoff": {
            "init_backoff": timedelta(seconds=min(0.1, patience.most_pause)),
            "max_backoff": timedelta(seconds=patience.most_pause),
            "base": 2,
        },
    }


def _connect_gcs(
    place: Place, options: StoreOptions, client: "ClientConfig", retry: "RetryConfig"
) -> "GCSStore":
    from obstore.store import GCSStore

    config: dict[str, Any] = {"base_url": place.endpoint} if place.endpoint else {}
    if options.anonymous:
        config["skip_signature"] = True
    # As stored: Google would unpack an object with `Content-Encoding: gzip`, and then neither say
    # its size nor give a part of it.
    client["default_headers"] = {"accept-encoding": "gzip"}
    return GCSStore(place.address.bucket, client_options=client, retry_config=retry, **config)


def _connect_azure(
    place: Place, options: StoreOptions, client: "ClientConfig", retry: "RetryConfig"
) -> "AzureStore":
    from obstore.store import AzureStore

    config: dict[str, Any] = {"endpoint": place.endpoint} if place.endpoint else {}
    if place.address.account:
        config["account_name"] = place.address.account
    if options.anonymous:
        config["skip_signature"] = True
    return AzureStore(place.address.bucket, client_options=client, retry_config=retry, **config)


def _connect_s3(
    place: Place, options: StoreOptions, client: "ClientConfig", retry: "RetryConfig"
) -> "tuple[S3Store, Place]":
    from obstore.store import S3Store

    config: dict[str, Any] = {"virtual_hosted_style_request": not options.path_style}
    if place.endpoint:
        endpoint = place.endpoint
        if not options.path_style:
            scheme, _, host = endpoint.partition("://")
            endpoint = f"{scheme}://{place.address.bucket}.{host}"
        # The second comes first in the library, and may be set in the environment.
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    provider = None if options.anonymous else _provider(options.profile)
    if provider is not None:
        place = place._replace(
            refusal=lambda: provider.refusal, region=place.region or provider.region
        )
    if place.region:
        config["region"] = place.region
    if options.anonymous:
        config["skip_signature"] = True
    store = S3Store(
        place.address.bucket,
        client_options=client,
        retry_config=retry,
        credential_provider=provider,
        **config,
    )
    return store, place


# profiles


class _Provider:
    """Credentials of a profile, which boto3 reads and renews."""

    # boto3 renews what ends within a quarter of an hour, whenever it is asked.
    _ASK_AGAIN = timedelta(minutes=5)

    def __init__(self, find: "Callable[[], Credentials]", region: str) -> None:
        self.region = region
        self.refusal = ""  # why there are none, as said the last time
        self._find = find

    def __call__(self) -> Any:  # an S3Credential
        try:
            found = self._find().get_frozen_credentials()
        except Exception as error:  # boto3's have no base in common
            self.refusal = " ".join(str(error).split())
            raise
        self.refusal = ""
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + self._ASK_AGAIN,
        }


def _provider(profile: str) -> _Provider | None:
    """Who gives the credentials of ~/.aws; None where the library finds others itself.

    As in AWS's own tools: a profile that is set for the bucket comes first, then keys and roles of
    the environment, then AWS_PROFILE and the default profile.
    """
    if not profile and any(map(os.environ.get, _OWN_CREDENTIALS)):
        return None
    named = profile or os.environ.get("AWS_PROFILE", "")
    if not named and not any(path.exists() for path in _aws_files()):
        return None
    try:
        import boto3
        import botocore.exceptions
    except ImportError:
        if not named:
            return None  # the library asks for a role; where there is none, the extra is named
        raise UsageError(
            f"the AWS profile {named!r} needs boto3: pip install 'customerio-loader[aws]'"
        ) from None
    try:
        session = boto3.Session(profile_name=profile or None)
        credentials = session.get_credentials()
    except botocore.exceptions.BotoCoreError as error:
        raise UsageError(
            f"the AWS profile {named or 'default'!r} cannot be used: {error}; "
            "check ~/.aws/config and ~/.aws/credentials"
        ) from None
    if credentials is None:
        if not named:
            return None
        raise UsageError(
            f"the AWS profile {named!r} has no credentials: check ~/.aws/credentials, or log in"
        )
    return _Provider(lambda: credentials, session.region_name or "")


def _aws_files() -> list[Path]:
    given = os.environ.get
    return [
        Path(given("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser(),
        Path(given("AWS_CONFIG_FILE") or "~/.aws/config").expanduser(),
    ]

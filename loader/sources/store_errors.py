"""What went wrong in a store, in one sentence: what, where, and what to do about it.

The client library answers with pages of debug text, with addresses and request ids in it.
"""

import os
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from loader.errors import InputUnreadable, UsageError
from loader.sources.page import ObjectChanged, ObjectGone
from loader.sources.urls import Address

Deed = Literal["list", "read"]

_CODE = re.compile(r"<Code>\s*(\w+)")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_REGION = re.compile(r"<Region>\s*([\w-]+)")
_BAD_KEY = re.compile(r'Path "(.*?)" contained|Error parsing Path "(.*?)"', re.DOTALL)

# Which action or role lets the job do what it tried.
_RIGHTS: dict[tuple[str, Deed], str] = {
    ("s3", "list"): "the action s3:ListBucket on the bucket",
    ("s3", "read"): "the action s3:GetObject on the objects, and kms:Decrypt on the key of yours "
    "if they are encrypted with one",
    ("gs", "list"): "the permission storage.objects.list on the bucket, as the role Storage "
    "Object Viewer has it",
    ("gs", "read"): "the permission storage.objects.get on the bucket, as the role Storage "
    "Object Viewer has it",
    ("az", "list"): "the role Storage Blob Data Reader on the container",
    ("az", "read"): "the role Storage Blob Data Reader on the container",
}
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is given; for "
    "AWS_PROFILE, ~/.aws and SSO install customerio-loader[aws]; for a public bucket set "
    "`anonymous`",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a file of credentials, or run where a service "
    "account is given; for a public bucket set `anonymous`",
    "az": "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID, AZURE_TENANT_ID and "
    "AZURE_CLIENT_SECRET, or run where an identity is given; for a public container set "
    "`anonymous`",
}
# Nothing but credentials is asked for by PUT and POST, or from the machine's own addresses.
_FOR_CREDENTIALS = re.compile(
    r"Error performing (?:PUT|POST)|token request|token file|computeMetadata"
    r"|/latest/(?:api|meta-data)/|//169\.254\.170\."
)
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "InvalidResourceName"}
_ENDED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_SKEWED = {"RequestTimeTooSkewed"}
_ARCHIVED = {"InvalidObjectState", "BlobArchived"}
_REGIONS = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IncorrectEndpoint"}
_UNKNOWN = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "InvalidClientTokenId",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "InvalidSecurity",
    "AuthenticationRequired",
}


class Place(NamedTuple):
    """The store that was asked."""

    address: Address  # of the bucket
    endpoint: str  # as set, or empty
    region: str  # likewise
    refusal: Callable[[], str]  # why there are no credentials, if a provider of ours knows

    @property
    def kind(self) -> str:
        """`s3`, `gs` or `az`."""
        return "az" if self.address.scheme == "abfss" else self.address.scheme


class UnreadableKey(InputUnreadable):
    """A folder has a key that the client library cannot name."""


class NoRight(InputUnreadable):
    """The credentials are good, and do not allow it."""


def explain(error: Exception, deed: Deed, key: str, place: Place) -> InputUnreadable:
    """The error of the loader for one of the library's."""
    text = str(error)
    uri = place.address.root + key
    said = f"cannot {deed} {uri!r}: "
    code = _found(_CODE, text)
    status = int(_found(_STATUS, text) or 0)
    if bad := _BAD_KEY.search(text):
        return UnreadableKey(
            f"{said}it has a key that cannot be read, {bad[1] or bad[2]!r}: every part of a key "
            "between two slashes has to be a name; rename that object, or name what is beside it"
        )
    if code in _NO_BUCKET:
        return InputUnreadable(
            f"{said}there is no bucket {place.address.bucket!r}; check its name, and `endpoint` "
            "and `region` of its store"
        )
    if deed == "read":
        if status == 412 or "Precondition" in type(error).__name__:
            return changed(uri)
        if status == 404 or isinstance(error, FileNotFoundError):
            return ObjectGone(f"{uri!r} is not there any more: it was deleted or has expired")
    what, advice = _why(text, code, status, deed, place)
    kind = NoRight if advice == _grant(place, deed) else InputUnreadable
    return kind(f"{said}{what}; {advice}")


def _grant(place: Place, deed: Deed) -> str:
    return f"grant {_RIGHTS[place.kind, deed]}"


def changed(uri: str) -> ObjectChanged:
    """The error of an object that is another by now."""
    return ObjectChanged(
        f"{uri!r} has changed since it was listed: the next load reads it from its start"
    )


def refuse(error: Exception, place: Place) -> UsageError:
    """The error for a store that cannot even be set up."""
    text = str(error).partition("\n\nDebug source")[0]
    if "ccount must be specified" in text or "MissingAccount" in str(error):
        why = (
            "no account is named: set AZURE_STORAGE_ACCOUNT_NAME, or write "
            "abfss://container@account.dfs.core.windows.net/key"
        )
    else:
        why = f"{_short(text)}; check the settings of its storage, and the variables of its store"
    return UsageError(f"the store of {place.address.root!r} cannot be used: {why}")


def _why(text: str, code: str, status: int, deed: Deed, place: Place) -> tuple[str, str]:
    """What happened, and what to do."""
    if refusal := place.refusal():
        return f"there are no credentials, as {refusal}", "log in again, or correct the profile"
    if _FOR_CREDENTIALS.search(text) or _is_of_container(text):
        if status:
            what = f"the request for credentials was refused ({code or status})"
        else:
            what = "no credentials were found"
        return what, _CREDENTIALS[place.kind]
    if code in _ENDED:
        return (
            f"the session of the credentials has ended ({code})",
            "log in again, or give the job credentials that are renewed",
        )
    if code in _SKEWED or "Request date header" in text:
        return "the clock of this machine is wrong", "set it, or have it set by NTP"
    if code in _ARCHIVED:
        return (
            "it is archived, and can be read only when it was restored",
            "restore it, or leave it out of the inputs",
        )
    if code in _REGIONS or "Received redirect without LOCATION" in text:
        region = _found(_REGION, text) or _ask_region(place)
        where = f"in {region}" if region else "in another region"
        value = region or "..."
        return (
            f"the bucket is {where}, and the job asked {place.region or 'us-east-1'}",
            f'set region = "{value}" below [storage."{place.address.root[:-1]}"], or AWS_REGION',
        )
    if code in _UNKNOWN or status == 401:
        name = code or "401"
        return (
            f"the store does not accept the credentials ({name})",
            "check whether they are those of this store, and whole",
        )
    if status == 403:
        return (
            f"the credentials lack the right to do so ({code or 'forbidden'})",
            _grant(place, deed),
        )
    if status == 404:
        return "there is no such bucket", "check its name, and `endpoint` of its store"
    if status == 429 or status >= 500:
        return (
            f"the store failed or was overloaded, at every try ({code or status})",
            "load again later",
        )
    if status:
        return f"the store refused the request ({code or status})", "check the settings of it"
    return _why_no_answer(text, place)


def _is_of_container(text: str) -> bool:
    """Whether a container's own service was asked for credentials."""
    uri = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    return uri is not None and uri != "" and uri in text


def _why_no_answer(text: str, place: Place) -> tuple[str, str]:
    asked = place.endpoint or "the store"
    if "invalid peer certificate" in text or "UnknownIssuer" in text:
        if "UnknownIssuer" in text or "self-signed" in text.lower():
            return (
                f"the certificate of {asked} is signed by an authority that is not known here",
                "set `ca_file` of its storage to the certificate of that authority",
            )
        return (
            f"the certificate of {asked} is not valid for it",
            "check `endpoint` of its storage, and the certificate",
        )
    if "dns error" in text:
        what, advice = f"the name of {asked} is not known", "check `endpoint`, and the network"
    elif "kind: Timeout" in text or "TimedOut" in text:
        what, advice = f"{asked} did not answer in time", "check the network, and load again"
    elif "kind: Connect" in text or "error sending request" in text:
        what, advice = (
            f"{asked} cannot be reached",
            "check `endpoint` of its storage, the network, and a proxy",
        )
    elif "HTTP error" in text or "body" in text:
        what, advice = "the connection broke, at every try", "load again later"
    else:
        what, advice = _short(text), "check the settings of its storage"
    return what, advice


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _short(text: str) -> str:
    """The beginning of a text of the library's, on one line and without addresses."""
    line = " ".join(re.sub(r"https?://\S+", "the store", text.partition("\n\n")[0]).split())
    line = line.removeprefix("Generic ")
    return line if len(line) <= 200 else line[:199] + "…"


def _ask_region(place: Place) -> str:
    """The region of a bucket, which S3 tells anybody."""
    if place.kind != "s3":
        return ""
    import urllib.error
    import urllib.request

    url = f"{place.endpoint or 'https://s3.amazonaws.com'}/{place.address.bucket}"
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.headers.get("x-amz-bucket-region", ""))
    except urllib.error.HTTPError as refused:
        with refused:
            return str(refused.headers.get("x-amz-bucket-region", ""))
    except (OSError, ValueError):
        return ""

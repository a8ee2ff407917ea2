"""Values that stand elsewhere than in the settings: `env:NAME`, `file:PATH`."""

import os
from collections.abc import Mapping
from pathlib import Path

from loader.errors import UsageError

_VARIABLE = "env:"
_FILE = "file:"


def is_reference(text: str) -> bool:
    """Whether a text says where a value is, and is not the value itself."""
    return text.startswith((_VARIABLE, _FILE))


def resolve(text: str) -> str:
    """The value that a text refers to; a text that is no reference is the value.

    A variable may stand in `.env`, too, where those of the settings may. Raises UsageError, which
    names the place and never the value.
    """
    if text.startswith(_VARIABLE):
        return _of_variable(text.removeprefix(_VARIABLE))
    if text.startswith(_FILE):
        return _of_file(text.removeprefix(_FILE))
    return text


def _of_variable(name: str) -> str:
    value = os.environ.get(name) or read_dotenv().get(name)
    if not value:
        raise UsageError(f"the environment variable {name} is not set: set it, or name another")
    return value


def read_dotenv() -> Mapping[str, str | None]:
    """The variables in `.env`, none where there is no such file. Raises UsageError."""
    if not os.path.exists(".env"):
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(".env", encoding="utf-8")
    except (OSError, ValueError):  # no UTF-8; the error would show a piece of a value
        raise UsageError("the file .env cannot be read: it has to be a text in UTF-8") from None


def _of_file(path: str) -> str:
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"the file {path!r} cannot be read: {error.strerror}") from None
    except ValueError:  # no UTF-8, or a NUL in the path; the error would show a piece of the value
        raise UsageError(f"the file {path!r} cannot be read: it is no text in UTF-8") from None
    if len(value.splitlines()) != 1:
        raise UsageError(f"the file {path!r} must have one line, with the value and nothing else")
    return value

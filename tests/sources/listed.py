"""Inputs as a load lists and opens them."""

from collections.abc import Iterable

from loader.errors import InputUnreadable
from loader.sources.files import open_file as open_input
from loader.sources.inputs import Inputs
from loader.sources.page import InputFile

__all__ = ["list_inputs", "open_input"]


def list_inputs(paths: Iterable[str]) -> list[InputFile]:
    """All files of some paths. Raises InputUnreadable where something cannot be listed."""
    found: list[InputFile] = []
    for listed in Inputs(paths).list():
        for error in filter(None, (listed.error, listed.page.failure)):
            raise InputUnreadable(str(error))
        found += listed.page.files
    return found

"""What the tables of warehouses and destinations have in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _check_name(name: str) -> str:
    if not name.strip():
        raise ValueError("the name is blank: write one")
    return name


def _check_sources(sources: tuple[str, ...]) -> tuple[str, ...]:
    if not sources:
        raise ValueError("it is empty: name a source, or leave `sources` out for all of them")
    return sources


Name = Annotated[str, AfterValidator(_check_name)]
Sources = Annotated[tuple[str, ...], AfterValidator(_check_sources)]


class Table(BaseModel):
    """A table that says to where events go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

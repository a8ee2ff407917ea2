"""The tables give what the rules in plain Python give, whoever sends."""

from decimal import Decimal
from typing import Any

from forms import model
from forms.generated import EXAMPLES, senders
from forms.reading import Event, parse_all
from hypothesis import given, settings

from loader.normalize.event import Reject
from loader.normalize.names import context_column, property_column

generated = settings(max_examples=10 * EXAMPLES)


def comparable(found: Event | Reject | str) -> Any:
    if isinstance(found, str):
        return found
    if isinstance(found, Reject):
        return found.reason
    one = dict(vars(found))
    for name in ("extra", "lost"):  # values of one name may have any of its numbers
        one[name] = sorted((key.partition("#")[0], repr(v)) for key, v in one[name].items())
    return {key: shown(v) if type(v) is dict else v for key, v in one.items()}


def shown(values: dict[str, Any]) -> str:
    """Values as text: true is not 1, but 0e0 is 0."""
    numbers = {k: Decimal(v) if type(v) is int else v for k, v in values.items()}
    return repr(
        sorted((k, v + 0 if v == 0 and type(v) is Decimal else v) for k, v in numbers.items())
    )


def by_column(found: Event | Reject) -> Event | Reject:
    if isinstance(found, Event):
        found.context = {context_column(k): v for k, v in found.context.items()}
        found.properties = {property_column(k): v for k, v in found.properties.items()}
    return found


def check(lines: list[bytes]) -> None:
    actual = parse_all(*lines) if lines else []
    for line, one in zip(lines, actual, strict=True):
        assert comparable(model.read(line)) == comparable(by_column(one)), line


@generated
@given(senders)
def test_whoever_sends_the_tables_give_what_the_rules_say(lines: list[bytes]) -> None:
    check([line for line in lines if not line.startswith(b"[")])

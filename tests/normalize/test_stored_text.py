"""Text that PostgreSQL can store."""

import pytest

from loader.normalize.text import clean_text, unstorable


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("plain", "plain", 0),
        ("", "", 0),
        ("Grüße 日本 🙂", "Grüße 日本 🙂", 0),
        ("a\0b", "a\ufffdb", 1),
        ("\0\0", "\ufffd\ufffd", 2),
        ("a\ud800b", "a\ufffdb", 1),
        ("\udc00\ud800", "\ufffd\ufffd", 2),
        ("é\ud83d\0", "é\ufffd\ufffd", 2),
        ("\ufffd", "\ufffd", 0),
        ("\ufeff\u2028\x7f\x01", "\ufeff\u2028\x7f\x01", 0),
    ],
    ids=ascii,
)
def test_what_cannot_be_stored_is_replaced_and_counted(
    text: str, expected: str, count: int
) -> None:
    assert expected == clean_text(text)
    assert count == unstorable(text)

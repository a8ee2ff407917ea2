"""Text that PostgreSQL can store: without NUL and lone surrogates."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """`text` with NUL and lone surrogates replaced by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if _is_unicode(text) else _SURROGATE.sub("\ufffd", text)


def unstorable(text: str) -> int:
    """How many code points of `text` `clean_text` replaces."""
    nulls = text.count("\0") if "\0" in text else 0
    return nulls if _is_unicode(text) else nulls + len(_SURROGATE.findall(text))


def is_plain(text: str) -> bool:
    """Whether it is seen at once that nothing of `text` is replaced."""
    return text.isascii() and "\0" not in text


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

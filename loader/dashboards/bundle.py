"""A ZIP file of YAML documents, the same bytes each time."""

import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

# An object of Superset's, which has no other type.
Document = dict[str, Any]

_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP file knows
# What JSON may have in a text as it is, and YAML may not, or folds as if it were the end of a line.
_ESCAPED_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def pack(documents: Mapping[str, Document]) -> bytes:
    """Documents by path, as a ZIP file."""
    packed = BytesIO()
    with ZipFile(packed, "w") as opened:
        for path in sorted(documents):
            entry = ZipInfo(path, _NO_TIME)
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            opened.writestr(entry, yaml_of(documents[path]))
    return packed.getvalue()


def yaml_of(document: Document) -> str:
    """A document as JSON that is YAML, too.

    YAML reads the two halves of an escaped character as two, so characters stand as they are.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _ESCAPED_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"

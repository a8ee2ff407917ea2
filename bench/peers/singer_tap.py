"""Print events as Singer messages, for target-postgres to load: python singer_tap.py INPUT TABLES.

One stream per event name plus `tracks`, each with the key `id`.
"""

import json
import sys
from pathlib import Path

# Found beside this script; the repository is not on the path of the target's environment.
from events import Row, Tables, read_rows

_TYPES: dict[str, Row] = {
    "text": {"type": ["string", "null"]},
    "bigint": {"type": ["integer", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "timestamptz": {"type": ["string", "null"], "format": "date-time"},
}


def main(path: str, tables_path: str) -> None:
    """Write the schemas, then the records in the order of arrival."""
    tables: Tables = json.loads(Path(tables_path).read_text())
    encode = json.JSONEncoder(separators=(",", ":")).encode
    write = sys.stdout.write
    for table, columns in tables.items():
        schema = {"type": "object", "properties": {n: _TYPES[t] for n, t in columns.items()}}
        schema["properties"]["id"] = {"type": "string"}
        message = {"type": "SCHEMA", "stream": table, "schema": schema, "key_properties": ["id"]}
        write(encode(message) + "\n")
    for table, shared, row in read_rows(path, json.loads):
        write(encode({"type": "RECORD", "stream": "tracks", "record": shared}) + "\n")
        write(encode({"type": "RECORD", "stream": table, "record": row}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The shortest fast program that a user could write instead: pyarrow reads, ADBC copies.

python shortest.py INPUT TABLES.json SCHEMA URL. One form of events, names and types known before;
it checks nothing, keeps no value that does not fit, no ledger, and cannot run twice.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import dbapi
from pyarrow import json as arrow_json

_TYPES = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_ENVELOPE = {
    "messageId": "id",
    "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp",
    "anonymousId": "anonymous_id",
    "userId": "user_id",
    "event": "event_text",
}


def main(path: str, tables_path: str, schema: str, url: str) -> None:
    """Read everything, then write table after table in the order of the ids."""
    options = arrow_json.ReadOptions(block_size=16 << 20)
    events = arrow_json.read_json(path, read_options=options)
    while any(pa.types.is_struct(field.type) for field in events.schema):
        events = events.flatten()
    names = [name.removeprefix("properties.").replace(".", "_") for name in events.column_names]
    events = events.rename_columns([_ENVELOPE.get(name, name) for name in names])
    slugs = pc.replace_substring(pc.utf8_lower(events["event_text"]), " ", "_")
    events = events.append_column("event", slugs).sort_by("id")
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        for table, columns in json.loads(Path(tables_path).read_text()).items():
            there = [name for name in columns if name in events.column_names]
            rows = events.select(there)
            if table != "tracks":
                rows = rows.filter(pc.equal(events["event"], table))
            rows = rows.cast(pa.schema([(name, _TYPES[columns[name]]) for name in there]))
            cursor.adbc_ingest(table, rows, mode="append", db_schema_name=schema)
        connection.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])

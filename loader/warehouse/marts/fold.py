"""Fold the events of committed batches into `email_messages`, each batch once.

What is folded is marked in the same transaction, so it does not matter where a load is killed, nor
who goes on. Whatever calls this holds the lock of the schema.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg2
from psycopg2 import sql
from sqlalchemy import (
    Connection,
    Text,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from loader.normalize.collections import EMAIL_MESSAGES
from loader.warehouse.engine import driver_cursor
from loader.warehouse.ledger import require_rows
from loader.warehouse.marts import definition
from loader.warehouse.marts.messages import OFF_COMMENT, SOURCES, TABLE_COMMENT
from loader.warehouse.tables import (
    batches,
    email_messages,
    loads,
    marts,
    select_tables,
    stale_messages,
)

# Batches of one transaction: about a million events.
_BATCHES_AT_ONCE = 20
# Of memory for sorting, which is ordinarily set for many sessions at once.
_WORK_MEM = "64MB"
_SUMMARIZE_LOCK_TIMEOUT = "100ms"
# Batches that are found by their rows, and belong to no load that is known.
_FOUND = 0

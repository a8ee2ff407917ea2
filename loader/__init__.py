"""customerio-loader: Customer.io events -> PostgreSQL tables. The public Python API.

The rooms, in the order an event goes through them:

- `sources`, `inputs`: files, the records in them, and blocks of these;
- `columns`, `native`: the values of a block as arrays;
- `forms`: the forms that senders use, as tables, and how each becomes events;
- `normalize`: the rules for names, types and texts; pure;
- `load`: batches of events, the schema changes they need, their rows;
- `warehouse`: PostgreSQL: server, tables, schema changes, writing, the ledger;
- `pipeline`: the load as a recipe; `cli`: the commands; `config`: the settings.
"""

from typing import TYPE_CHECKING, Any

# These rooms are imported first, so that their names mean the functions from here on.
import loader.load
import loader.normalize  # noqa: F401
from loader._version import __version__
from loader.api import load, normalize
from loader.errors import (
    BrokenInstallation,
    InputUnreadable,
    LedgerDisagrees,
    LoaderError,
    LoaderWarning,
    LockHeld,
    MissingRight,
    RowsDropped,
    SchemaDrift,
    SchemaNotAtHead,
    SchemaRefused,
    TransientFault,
    UnknownSetting,
    UsageError,
    WarehouseFailed,
    WarehouseUnavailable,
)

if TYPE_CHECKING:
    from loader.pipeline import LoadResult

__all__ = [
    "BrokenInstallation",
    "InputUnreadable",
    "LedgerDisagrees",
    "LoadResult",
    "LoaderError",
    "LoaderWarning",
    "LockHeld",
    "MissingRight",
    "RowsDropped",
    "SchemaDrift",
    "SchemaNotAtHead",
    "SchemaRefused",
    "TransientFault",
    "UnknownSetting",
    "UsageError",
    "WarehouseFailed",
    "WarehouseUnavailable",
    "__version__",
    "load",
    "normalize",
]


def __getattr__(name: str) -> Any:
    # The room of LoadResult is heavy to import, and most who import this need only `load`.
    if name == "LoadResult":
        from loader.pipeline import LoadResult

        return LoadResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""customerio-loader: Customer.io events -> PostgreSQL tables. The public Python API.

The rooms, in the order an event goes through them:

- `sources`: files, the records in them, and the forms that senders use;
- `normalize`: the rules that turn events into rows; pure;
- `warehouse`: PostgreSQL: server, tables, schema changes, writing, the ledger;
- `pipeline`: the load as a recipe; `cli`: the commands; `config`: the settings.
"""

from typing import TYPE_CHECKING, Any

# The room `normalize` is imported first, so that the name means the function from here on.
import loader.normalize  # noqa: F401
from loader._version import __version__
from loader.api import load, normalize
from loader.errors import (
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

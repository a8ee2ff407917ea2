"""customerio-loader: Customer.io events -> PostgreSQL tables. The public Python API.

The rooms, in the order an event goes through them:

- `sources`: files, the records in them, and the forms that senders use;
- `normalize`: the rules that turn events into rows; pure;
- `warehouse`: PostgreSQL: server, tables, schema changes, writing, the ledger;
- `pipeline`: the load as a recipe; `cli`: the commands; `config`: the settings.
"""

# The room `normalize` is imported first, so that the name means the function from here on.
import loader.normalize  # noqa: F401
from loader._version import __version__
from loader.api import load, normalize
from loader.errors import LoaderError

__all__ = ["LoaderError", "__version__", "load", "normalize"]

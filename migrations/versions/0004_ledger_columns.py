"""More of the ledger: a load knows its row as its own.

`_loads.token` is a random word that a load gives its row. After a failover the number of a load
proves nothing: the server that took over may have issued it again, to another load. So each
transaction of a load demands number and token.

Adds columns without a default, which reads and rewrites no row: it takes an ACCESS EXCLUSIVE lock
on `_loads` for an instant, and on nothing else. Rows from before have null in them.

Only adds, and still no older loader may run on it: those loaders refuse a schema that is newer than
themselves. The way back to an older one is `alembic downgrade 0003`, which loses the tokens and no
event; no load may run meanwhile, and none can.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "_loads",
        sa.Column("token", sa.Text, comment="Random; by it a load knows the row as its own."),
    )


def downgrade() -> None:
    op.drop_column("_loads", "token")

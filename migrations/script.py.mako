"""${message}.

Before it is merged, a revision
- has one subject, and a number one higher than the last (`--rev-id 0004`);
- is safe while the previous version of the loader still runs: it only adds, or it says in this
  docstring why not;
- takes no long lock: no rewrite of a large table, no index without CONCURRENTLY on one;
- has a downgrade that works, or refuses with a sentence (`refuse_loss`).
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}

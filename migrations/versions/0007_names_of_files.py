"""The names of files in the order of their bytes: `_files.uri` is `COLLATE "C"`.

That is the order in which files are listed, so what is known of those that are listed together lies
together in the index of `_files`, in any database.

Makes that index anew, without rewriting the table: an ACCESS EXCLUSIVE lock on `_files` for about
three seconds per million files. Where a view of yours reads the column, it is left as it is: the
loader works with either, and is faster with this one.

Changes no values: a loader of `oldest_loader` or newer can work with this schema too, even if it
does not know this revision.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
oldest_loader = "0.2.0"


def upgrade() -> None:
    sort_by('"C"')


def downgrade() -> None:
    sort_by('"default"')


def sort_by(collation: str) -> None:
    op.execute(
        f"""
        DO $$
        BEGIN
            ALTER TABLE _files ALTER COLUMN uri TYPE text COLLATE {collation};
        EXCEPTION WHEN feature_not_supported THEN  -- PostgreSQL's answer where a view reads it
            RAISE NOTICE 'a view on _files keeps the order of its names as it is';
        END
        $$
        """
    )

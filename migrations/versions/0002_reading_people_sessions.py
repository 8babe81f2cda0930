"""How far everybody has read, conversations of two, numbered changes, people, and sessions that were ended.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The defaults are for the version before, which goes on writing while nodes are upgraded one by one.
    op.add_column("rooms", sa.Column("kind", sa.String(16), server_default="public", nullable=False))
    op.add_column("rooms", sa.Column("first_seq", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("rooms", sa.Column("last_change_seq", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_rooms_kind", "rooms", ["kind"])
    op.add_column("messages", sa.Column("change_seq", sa.BigInteger()))
    changed = sa.text("change_seq IS NOT NULL")
    op.create_index(
        "ix_messages_changes",
        "messages",
        ["room_id", "change_seq"],
        sqlite_where=changed,
        postgresql_where=changed,
    )
    op.create_index("ix_memberships_room_id", "memberships", ["room_id"])
    op.add_column("memberships", sa.Column("read_seq", sa.BigInteger(), server_default="0", nullable=False))
    # What was there before was read: nobody wants to begin with a thousand unread messages.
    op.execute(
        "UPDATE memberships SET read_seq = (SELECT last_seq FROM rooms WHERE rooms.id = memberships.room_id)"
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "ended_sessions",
        sa.Column("who", sa.String(300), primary_key=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("written_at_ms", sa.BigInteger(), nullable=False, index=True),
    )


def downgrade() -> None:
    op.drop_table("ended_sessions")
    op.drop_table("people")
    # The version before would show them to everybody.
    op.execute("DELETE FROM messages WHERE room_id IN (SELECT id FROM rooms WHERE kind = 'direct')")
    op.execute("DELETE FROM memberships WHERE room_id IN (SELECT id FROM rooms WHERE kind = 'direct')")
    op.execute("DELETE FROM rooms WHERE kind = 'direct'")
    op.drop_index("ix_memberships_room_id", "memberships")
    op.drop_index("ix_messages_changes", "messages")
    op.drop_index("ix_rooms_kind", "rooms")
    with op.batch_alter_table("messages") as messages:
        messages.drop_column("change_seq")
    with op.batch_alter_table("memberships") as memberships:
        memberships.drop_column("read_seq")
    with op.batch_alter_table("rooms") as rooms:
        rooms.drop_column("last_change_seq")
        rooms.drop_column("first_seq")
        rooms.drop_column("kind")

"""Rooms, who is in them, and messages.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rooms",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("name_key", sa.String(255), nullable=False, unique=True),
        sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("room_id", ID, sa.ForeignKey("rooms.id"), primary_key=True),
        sa.Column("joined_at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "messages",
        sa.Column("id", ID, primary_key=True),
        sa.Column("room_id", ID, sa.ForeignKey("rooms.id"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("author_id", sa.String(64), nullable=False),
        sa.Column("author_name", sa.String(64), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("edited_at_ms", sa.BigInteger()),
        sa.Column("deleted_at_ms", sa.BigInteger()),
        sa.UniqueConstraint("room_id", "seq", name="uq_messages_room_seq"),
        sa.UniqueConstraint("author_id", "client_id", name="uq_messages_author_client"),
    )


def downgrade() -> None:
    op.drop_table("messages")
    op.drop_table("memberships")
    op.drop_table("rooms")

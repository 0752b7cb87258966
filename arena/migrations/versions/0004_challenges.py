"""challenges of mlarena-sdk 4: teams, assistants, datasets, courses of modules and lessons, and who caused a failure"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("user", sa.Column("profile", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("competition", sa.Column("started_at", sa.Double(), nullable=True))
    op.execute("UPDATE competition SET started_at = created_at WHERE is_started")
    op.add_column("competition", sa.Column("agent_template", sa.Text(), nullable=True))
    op.add_column("competition", sa.Column("config_origin", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("attached_agent", sa.Column("is_public", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("attached_agent", sa.Column("changed_at", sa.Double(), nullable=False, server_default="0"))
    op.add_column("deploy", sa.Column("is_rerun", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("deploy", sa.Column("failure_owner", sa.String(length=16), nullable=True))
    op.add_column("run", sa.Column("error_owner", sa.String(length=16), nullable=True))
    op.add_column("course", sa.Column("slug", sa.String(length=80), nullable=False, server_default=""))
    op.execute("UPDATE course SET slug = 'course-' || id")
    op.create_index("course_slug", "course", ["slug"], unique=True)
    op.add_column("course", sa.Column("description", sa.Text(), nullable=False, server_default=""))
    op.add_column("course", sa.Column("visibility", sa.String(length=16), nullable=False, server_default="private"))
    op.add_column("course", sa.Column("cover_sha256", sa.String(length=64), nullable=True))
    op.create_table(
        "competition_assistant",
        sa.Column("competition_id", sa.Integer(), sa.ForeignKey("competition.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("competition_id", "user_id"),
    )
    op.create_index("ix_competition_assistant_user_id", "competition_assistant", ["user_id"])
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("competition_id", sa.Integer(), sa.ForeignKey("competition.id"), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_dataset_competition_id", "dataset", ["competition_id"])
    op.create_table(
        "dataset_file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), sa.ForeignKey("dataset.id"), nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_dataset_file_dataset_id", "dataset_file", ["dataset_id"])
    op.create_table(
        "team",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("competition_id", sa.Integer(), sa.ForeignKey("competition.id"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("looking_for_members", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_team_competition_id", "team", ["competition_id"])
    op.create_table(
        "team_member",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("team_id", sa.Integer(), sa.ForeignKey("team.id"), nullable=False),
        sa.Column("competition_id", sa.Integer(), sa.ForeignKey("competition.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("competition_id", "user_id"),
    )
    op.create_index("ix_team_member_team_id", "team_member", ["team_id"])
    op.create_index("ix_team_member_user_id", "team_member", ["user_id"])
    op.create_table(
        "team_invitation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("team_id", sa.Integer(), sa.ForeignKey("team.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("sender_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_team_invitation_user_id", "team_invitation", ["user_id"])
    op.create_index("ix_team_invitation_team_id", "team_invitation", ["team_id"])
    op.create_table(
        "course_assistant",
        sa.Column("course_id", sa.Integer(), sa.ForeignKey("course.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("course_id", "user_id"),
    )
    op.create_index("ix_course_assistant_user_id", "course_assistant", ["user_id"])
    op.create_table(
        "module",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("icon", sa.String(length=64), nullable=True),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("is_published", sa.Boolean(), nullable=False),
        sa.Column("forked_from_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id", "slug"),
    )
    op.create_table(
        "course_module",
        sa.Column("course_id", sa.Integer(), sa.ForeignKey("course.id"), nullable=False),
        sa.Column("module_id", sa.Integer(), sa.ForeignKey("module.id"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("course_id", "module_id"),
    )
    op.create_index("ix_course_module_module_id", "course_module", ["module_id"])
    op.create_table(
        "module_challenge",
        sa.Column("module_id", sa.Integer(), sa.ForeignKey("module.id"), nullable=False),
        sa.Column("competition_id", sa.Integer(), sa.ForeignKey("competition.id"), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("pass_threshold", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("module_id", "competition_id"),
    )
    op.create_index("ix_module_challenge_competition_id", "module_challenge", ["competition_id"])
    op.create_table(
        "lesson",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("module_id", sa.Integer(), sa.ForeignKey("module.id"), nullable=False),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("lesson.id"), nullable=True),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body_md", sa.Text(), nullable=False),
        sa.Column("gated", sa.Boolean(), nullable=False),
        sa.Column("is_published", sa.Boolean(), nullable=False),
        sa.Column("estimated_minutes", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("module_id", "slug"),
    )
    op.create_table(
        "lesson_media",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lesson_id", sa.Integer(), sa.ForeignKey("lesson.id"), nullable=False),
        sa.Column("filename", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("lesson_id", "filename"),
    )
    op.create_table(
        "lesson_progress",
        sa.Column("course_id", sa.Integer(), sa.ForeignKey("course.id"), nullable=False),
        sa.Column("lesson_id", sa.Integer(), sa.ForeignKey("lesson.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("viewed_at", sa.Double(), nullable=False),
        sa.Column("completed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("course_id", "lesson_id", "user_id"),
    )
    op.create_index("ix_lesson_progress_lesson_id", "lesson_progress", ["lesson_id"])

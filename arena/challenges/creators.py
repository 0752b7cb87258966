"""HTTP endpoints for those who edit a challenge: its creator and the creator's assistants."""

import io
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.arena.access import Creator, InjectedServices
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.catalogue import image_file, miniature
from ml_trainer_env.arena.challenges.values import MACHINE, challenge_status, iso
from ml_trainer_env.arena.competitions import config, service
from ml_trainer_env.arena.competitions.files import delete_file, receive_file, receive_image
from ml_trainer_env.arena.competitions.repository import competition_files, own_competition
from ml_trainer_env.arena.competitions.schemas import Markdown, NewCompetition, SettingsUpdate, TagIds, Update
from ml_trainer_env.arena.errors import RefusedError
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Competition, CompetitionAssistant, CompetitionFile, FilePurpose

__all__ = ["older", "public", "router"]

public = APIRouter(prefix="/api/creator_challenge", tags=["creators"])
router = APIRouter(prefix="/api/creator_challenge", tags=["creators"])
older = APIRouter(prefix="/api/creator_competition", tags=["creators"])
"""Routes of the same functions in mlarena-sdk 1.0.0."""

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

_TEXT_BYTES = 1_000_000
_TEXT_IN_ALL_BYTES = 4_000_000
_RUNNING_EDITABLE = ["is_public", *config.RUNNING_EDITABLE]
_SIZING = {"env_cpu_limit": "2", "env_memory_limit": "4Gi", "agent_cpu_limit": "2", "agent_memory_limit": "4Gi"}
_CAPABILITIES = {
    "agent_template": True,
    "benchmark": True,
    "env_structural_check": True,
    "runs": True,
    "chat": False,
    "submission_upload": True,
    "submission_filename": False,
    "elo": False,
    "episode_budget_brackets": True,
    "run_limits": False,
    "agent_containers": False,
    "multi_agent": False,
}
_LABELS = {
    Kernel.PERMUTED_MNIST: "Permuted MNIST",
    Kernel.GYMNASIUM: "Gymnasium",
    Kernel.TWO_PLAYERS: "Two players",
}
_DESCRIPTIONS = {
    Kernel.PERMUTED_MNIST: "Train and predict on permuted MNIST within a minute.",
    Kernel.GYMNASIUM: "Act in an environment that the creator uploads.",
    Kernel.TWO_PLAYERS: "Meet other submissions in a game of two players that the creator uploads.",
}


class NewChallenge(BaseModel):
    """A new challenge."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=200)
    kernel_version: str = Field(max_length=64)
    description: str = Field(default="", max_length=20_000)
    copy_from_challenge_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    tag_ids: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] | None = Field(default=None, max_length=50)
    is_public: bool = False


class Content(BaseModel):
    """The content of a text file."""

    content: str = Field(max_length=2**20)


class AgentTemplate(BaseModel):
    """The source from which participants start."""

    agent_template: str = Field(max_length=100_000)


@public.get("/config_fields")
def config_fields() -> dict[str, Any]:
    """Describe every key of the configuration, in the order in which an editor shows them."""
    rows = [
        {
            "key": key.name,
            "group": key.group,
            "level": "basic",
            "writer": "creator",
            "capability": None,
            "fixed_capability": None,
            "running_editable": key.name in _RUNNING_EDITABLE,
            "in_file": True,
            "help": key.help,
        }
        for key in config.KEYS
    ]
    return {"fields": rows}


@public.get("/config_schema.json")
def config_schema() -> dict[str, Any]:
    """Get the JSON Schema of challenge.toml."""
    return config.config_schema()


@router.get("/available_kinds")
def available_kinds(caller: Creator) -> list[dict[str, Any]]:  # noqa: ARG001 - for creators only
    """List the kinds of challenges."""
    return [
        {
            "kernel_version": kernel,
            "label": _LABELS[kernel],
            "description": _DESCRIPTIONS[kernel],
            "protocol": "files",
            "isolation": "sandbox",
            "has_machine": True,
            "capabilities": _CAPABILITIES | {"elo": kernel.has_matches, "multi_agent": kernel.has_matches},
            "runtime_defaults": _SIZING,
            "runtime_presets": {},
            "minimal_loop_snippet": kernel.template,
        }
        for kernel in Kernel
    ]


@router.get("/challenges")
@older.get("/competitions")
def challenges(caller: Creator, services: InjectedServices) -> list[dict[str, Any]]:
    """List the challenges that the caller may edit, hidden ones included, newest first."""
    assists = sa.select(CompetitionAssistant.competition_id).where(CompetitionAssistant.user_id == caller.user_id)
    query = sa.select(Competition).where(sa.or_(Competition.creator_id == caller.user_id, Competition.id.in_(assists)))
    with services.database.transaction(read_only=True) as session:
        return [
            {
                "id": found.id,
                "name": found.name,
                "status": challenge_status(found),
                "is_started": found.is_started,
                "is_public": found.is_public,
                "kernel_version": found.kernel,
                "simulation_version": found.kernel,  # its name in older clients
                "role": _role(found, caller.user_id),
                "owner_username": found.creator.name,
            }
            for found in session.scalars(query.order_by(Competition.id.desc()))
        ]


@router.get("/copyable_challenges")
def copyable(caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """List the caller's own challenges, from which a new one can be copied."""
    query = sa.select(Competition).where(Competition.creator_id == caller.user_id).order_by(Competition.id.desc())
    with services.database.transaction(read_only=True) as session:
        rows = [
            {"id": found.id, "name": found.name, "status": challenge_status(found), "machine_name": MACHINE["name"]}
            for found in session.scalars(query)
        ]
    return {"challenges": rows}


@router.post("/challenge", status_code=201)
def create(wanted: NewChallenge, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Create a challenge. It is hidden unless `is_public` is set."""
    with services.database.transaction(by=caller.user_id) as session:
        source = wanted.copy_from_challenge_id
        tag_ids = wanted.tag_ids
        if source is not None and tag_ids is None:
            tag_ids = [tag.id for tag in own_competition(session, source, caller.user_id).tags]
        made = service.create(
            session,
            caller.user_id,
            NewCompetition(
                name=wanted.name,
                kernel_version=wanted.kernel_version,
                description=wanted.description,
                copy_from_competition_id=source,
                tag_ids=tag_ids or [],
                is_public=wanted.is_public,
            ),
        )
        return {
            "id": made.id,
            "challenge_id": made.id,
            "name": made.name,
            "status": challenge_status(made),
            "machine_name": MACHINE["name"],
            "machine_note": None,
        }


@router.get("/challenge/{cid}")
def challenge(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Get a challenge as its editor sees it: its configuration and what keeps it from starting."""
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        files = competition_files(session, cid, FilePurpose.ENV)
        blockers = [{"code": code, "message": text} for code, text in service.start_blockers(session, own)]
        advice = [] if own.description else [{"code": "description_missing", "message": "there is no description"}]
        if not own.markdown.strip():
            advice.append({"code": "overview_missing", "message": "there is no overview"})
        if own.image_sha256 is None:
            advice.append({"code": "cover_missing", "message": "there is no picture"})
        return {
            **_row(own, caller.user_id),
            **_settings(own, files),
            "start_blockers": None if own.is_started else blockers,
            "start_recommendations": None if own.is_started else advice,
            "running_editable_fields": _RUNNING_EDITABLE,
        }


@router.put("/challenge/{cid}")
def update(cid: Id, wanted: Update, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Change the name, the description or the visibility."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        service.update(own, wanted)
        record(session, caller.user_id, "competition.update", f"{cid} {' '.join(sorted(wanted.model_fields_set))}", cid)
        return _row(own, caller.user_id)


@router.put("/challenge/{cid}/settings")
def settings(cid: Id, wanted: SettingsUpdate, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Change keys of the configuration."""
    changes = wanted.model_dump()
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        config.apply_changes(session, own, changes, services.settings.max_upload_bytes)
        record(session, caller.user_id, "competition.settings", config.describe_changes(cid, changes), cid)
        return _settings(own, competition_files(session, cid, FilePurpose.ENV))


@router.get("/challenge/{cid}/config.toml", response_class=PlainTextResponse)
def export(cid: Id, caller: Creator, services: InjectedServices) -> PlainTextResponse:
    """Get the configuration as challenge.toml."""
    with services.database.transaction(read_only=True) as session:
        return PlainTextResponse(config.export_file(own_competition(session, cid, caller.user_id)))


@router.get("/challenge/{cid}/tags")
def tags(cid: Id, caller: Creator, services: InjectedServices) -> list[dict[str, Any]]:
    """List the tags of a challenge."""
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        return [{"id": tag.id, "name": tag.name, "description": ""} for tag in own.tags]


@router.put("/challenge/{cid}/tags")
def set_tags(cid: Id, wanted: TagIds, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Replace the tags of a challenge."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        service.set_tags(session, own, wanted.tag_ids)
        record(session, caller.user_id, "competition.tags", f"{cid} {wanted.tag_ids}", cid)
        return {"tags": [tag.name for tag in own.tags]}


@router.get("/challenge/{cid}/env/files")
def env_files(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """List the files of the environment."""
    return _list_files(cid, FilePurpose.ENV, caller.user_id, services)


@router.put("/challenge/{cid}/env/files")
async def put_env_file(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of the environment. challenge.toml is applied when it is kept."""
    found = await receive_file(cid, FilePurpose.ENV, caller.user_id, services, request)
    if found["filename"] != config.FILE:
        return found
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        return found | {"config": _config(own, competition_files(session, cid, FilePurpose.ENV))}


@router.delete("/challenge/{cid}/env/files/{filename:path}")
def delete_env_file(cid: Id, filename: str, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Remove a file of the environment."""
    delete_file(cid, FilePurpose.ENV, filename, caller.user_id, services)
    return {"message": f"{filename} was deleted"}


@router.post("/challenge/{cid}/env/check")
def check_env(cid: Id, wanted: Content, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Check the source of an env.py without keeping it."""
    with services.database.transaction(read_only=True) as session:
        kernel = Kernel(own_competition(session, cid, caller.user_id).kernel)
    content = wanted.content.encode(errors="replace")
    sha256, size = services.store_upload(caller.user_id, io.BytesIO(content), len(content))
    source = services.sources.inspect(sha256, size)
    errors = [] if source.error is None else [source.error]
    has_env = "make_env" in source.functions or any(one.name == "Env" for one in source.classes)
    if not errors and kernel.needs_env and not has_env:
        errors.append("env.py should define a function make_env or a class Env")
    return {"is_valid": not errors, "errors": errors, "warnings": []}


@router.post("/challenge/{cid}/env/sync-github")
def sync_github(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Always refused: this service makes no requests to other hosts."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
    raise RefusedError("this service fetches nothing from elsewhere: upload the files")


@router.get("/challenge/{cid}/benchmark/files")
def benchmark_files(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """List the files of the benchmark agent."""
    return _list_files(cid, FilePurpose.BENCHMARK, caller.user_id, services)


@router.put("/challenge/{cid}/benchmark/files")
async def put_benchmark_file(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Add or replace a file of the benchmark agent."""
    return await receive_file(cid, FilePurpose.BENCHMARK, caller.user_id, services, request)


@router.delete("/challenge/{cid}/benchmark/files/{filename:path}")
def delete_benchmark_file(cid: Id, filename: str, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Remove a file of the benchmark agent."""
    delete_file(cid, FilePurpose.BENCHMARK, filename, caller.user_id, services)
    return {"message": f"{filename} was deleted"}


@router.post("/challenge/{cid}/image")
async def set_image(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Set the picture of a challenge. Accepts PNG, JPEG, GIF and WebP."""
    sha256, size = await receive_image(cid, caller.user_id, services, request)
    return {"sha256": sha256, "size": size}


@router.get("/challenge/{cid}/image", response_class=FileResponse)
def image(cid: Id, caller: Creator, services: InjectedServices) -> FileResponse:
    """Get the picture of a challenge."""
    with services.database.transaction(read_only=True) as session:
        sha256 = own_competition(session, cid, caller.user_id).image_sha256
    return image_file(sha256, services)


@router.delete("/challenge/{cid}/image")
def delete_image(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Remove the picture of a challenge."""
    with services.database.transaction(by=caller.user_id) as session:
        own_competition(session, cid, caller.user_id).image_sha256 = None
        record(session, caller.user_id, "competition.image.delete", str(cid), cid)
    return {"message": "the picture was deleted"}


@router.get("/challenge/{cid}/markdown")
def markdown(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Get the overview of a challenge in Markdown."""
    with services.database.transaction(read_only=True) as session:
        return {"content": own_competition(session, cid, caller.user_id).markdown}


@router.put("/challenge/{cid}/markdown")
def set_markdown(cid: Id, wanted: Markdown, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Set the overview of a challenge in Markdown."""
    with services.database.transaction(by=caller.user_id) as session:
        own_competition(session, cid, caller.user_id).markdown = wanted.content
        record(session, caller.user_id, "competition.markdown", str(cid), cid)
    return {"size": len(wanted.content)}


@router.get("/challenge/{cid}/agent-template")
def agent_template(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Get the source from which participants start."""
    with services.database.transaction(read_only=True) as session:
        return {"agent_template": service.template_of(own_competition(session, cid, caller.user_id))}


@router.put("/challenge/{cid}/agent-template")
@older.put("/competition/{cid}/agent-template")
def set_agent_template(cid: Id, wanted: AgentTemplate, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Set the source from which participants start. An empty one brings back that of the kind."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        if own.is_started:
            raise RefusedError("the competition has started: stop it to change the template")
        own.agent_template = wanted.agent_template or None
        record(session, caller.user_id, "competition.template", str(cid), cid)
        return {"agent_template": service.template_of(own)}


@router.get("/challenge/{cid}/csv-ground-truth")
def csv_ground_truth(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Get the columns of the ground truth. There is none: the challenges of this service run code."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
    return {"ground_truth": None}


@router.put("/challenge/{cid}/start", response_model=dict[str, Any])
def start(cid: Id, caller: Creator, services: InjectedServices) -> Any:
    """Start a challenge. A refusal lists everything that keeps it from starting."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        blockers = [] if own.is_started else [text for _, text in service.start_blockers(session, own)]
        if blockers:
            return JSONResponse({"error": blockers[0], "details": blockers}, 400)
        return _row(service.start(session, cid, caller.user_id), caller.user_id)


@router.put("/challenge/{cid}/stop")
@older.put("/competition/{cid}/stop")
def stop(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Stop a challenge. It can then be changed and started again."""
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        service.stop(session, own, caller.user_id)
        return _row(own, caller.user_id)


def _role(competition: Competition, user_id: int) -> str:
    return "owner" if competition.creator_id == user_id else "assistant"


def _row(competition: Competition, user_id: int) -> dict[str, Any]:
    return {
        "id": competition.id,
        "name": competition.name,
        "description": competition.description,
        "status": challenge_status(competition),
        "is_public": competition.is_public,
        "start_date_ts": iso(competition.started_at),
        "created_at_ts": iso(competition.created_at),
        "kernel_version": competition.kernel,
        "tags": [tag.name for tag in competition.tags],
        "miniature": miniature(competition),
        "machine_name": MACHINE["name"],
        "machine": MACHINE,
        "role": _role(competition, user_id),
        "owner_username": competition.creator.name,
    }


def _settings(competition: Competition, files: list[CompetitionFile]) -> dict[str, Any]:
    """Get the configuration, in one document and in the three parts that older clients of the protocol read."""
    document = _config(competition, files)
    groups = {key.name: key.group for key in config.KEYS}
    values = document["values"]
    evaluation = {name: value for name, value in values.items() if groups[name] == "evaluation"}
    others = {name: value for name, value in values.items() if groups[name] != "evaluation"}
    return {
        "configuration": others
        | _SIZING
        | {"machine_id": 1, "kernel_version": competition.kernel, "agent_template": competition.agent_template},
        "evaluation": evaluation,
        "environment": {"id": competition.id, "number_of_agents": 1},
        "config": document,
    }


def _config(competition: Competition, files: list[CompetitionFile]) -> dict[str, Any]:
    sha256 = next((file.sha256 for file in files if file.name == config.FILE), None)
    document = config.config_document(competition, sha256)
    return document | {"file_applied_at_ts": iso(document.pop("file_applied_at"))}


def _list_files(cid: int, purpose: FilePurpose, user_id: int, services: Services) -> dict[str, Any]:
    """List files. Text files have their content, up to a total of 4 MB."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, user_id)
        files = competition_files(session, cid, purpose)
    rows, left = {}, _TEXT_IN_ALL_BYTES
    for file in files:
        text = None
        if file.size <= min(left, _TEXT_BYTES):
            try:
                text = services.blobs.get(file.sha256).decode()
                left -= file.size
            except UnicodeDecodeError:
                text = None
        language = "python" if file.name.endswith(".py") else "plaintext"
        rows[file.name] = {"content": text, "language": language, "is_binary": text is None, "size": file.size}
    return {"files": rows}

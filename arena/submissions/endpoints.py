"""HTTP endpoints for submissions: the SDK's routes under `/api/direct_attache_agents`, and the signed logs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import PlainTextResponse

from ml_trainer_env.arena.access import Creator, InjectedServices, Participant
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.repository import competition_files, own_competition, visible_competition
from ml_trainer_env.arena.competitions.service import holds_results
from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.files.names import file_path
from ml_trainer_env.arena.runtimes import describe_runtimes, runtimes
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.benchmark import benchmark_state, run_benchmark
from ml_trainer_env.arena.submissions.files import parse_ahead, receive_file
from ml_trainer_env.arena.submissions.repository import agent_files, finished_runs, own_agent
from ml_trainer_env.arena.submissions.schemas import NewAgent, RuntimeChoice
from ml_trainer_env.arena.tables import AgentStatus, FilePurpose, Run, Runtime

__all__ = ["creator", "logs", "packages", "router"]

router = APIRouter(prefix="/api/direct_attache_agents", tags=["submissions"])
creator = APIRouter(prefix="/api/creator_competition/competition", tags=["creators"])
logs = APIRouter(tags=["submissions"])
packages = APIRouter(tags=["submissions"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

_LANGUAGES = {".py": "python", ".json": "json", ".md": "markdown", ".txt": "text", ".yaml": "yaml", ".toml": "toml"}
_SHOWN_BYTES = 1_000_000
_SHOWN_IN_ALL_BYTES = 4_000_000


@router.post("/competition/{cid}", status_code=201)
def create_agent(cid: Id, wanted: NewAgent, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Create an agent in a competition."""
    if wanted.copy_from_agent_id is not None:
        parse_ahead(services, caller.user_id, wanted.copy_from_agent_id)
    with services.database.transaction(by=caller.user_id) as session:
        agent = service.attach(
            session, caller.user_id, cid, wanted.agent_name, wanted.copy_from_agent_id, services.sources
        )
        return {"attache_agent_id": agent.id, "status": agent.status, "message": f"agent {agent.name} was created"}


@router.put("/competition/{cid}/{aid}/file")
async def put_file(
    cid: Id, aid: Id, caller: Participant, services: InjectedServices, request: Request
) -> dict[str, Any]:
    """Add or replace a file or the files of a .zip archive, or delete the file that the field `delete_file` names."""
    agent, message = await receive_file(request, services, caller.user_id, cid, aid)
    status = AgentStatus.UPLOAD_VALIDATED if agent.files_ok else AgentStatus.UPLOAD_FAILED
    return {"message": message, "status": status, "validation_message": agent.files_message}


@router.get("/competition/{cid}/{aid}/file")
def list_files(cid: Id, aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """List all files. Text files include their content, up to a total of 4 MB."""
    with services.database.transaction(read_only=True) as session:
        files = agent_files(session, own_agent(session, aid, caller.user_id, cid).id)
    shown, left = {}, _SHOWN_IN_ALL_BYTES
    for file in files:
        shown[file.name] = _file_row(file.name, file.sha256, file.size, services, left)
        left -= file.size if shown[file.name]["content"] is not None else 0
    return {"files": shown}


@router.get("/competition/{cid}/{aid}/file/{filename:path}/content")
def file_content(cid: Id, aid: Id, filename: str, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Get the content of a text file."""
    name = file_path(filename)
    with services.database.transaction(read_only=True) as session:
        files = agent_files(session, own_agent(session, aid, caller.user_id, cid).id)
    found = next((file for file in files if file.name == name), None)
    if found is None:
        raise NotFoundError("there is no such file")
    shown = _file_row(found.name, found.sha256, found.size, services)
    if shown["is_binary"]:
        raise RefusedError(f"{name} is no text of up to {_SHOWN_BYTES} bytes")
    return {"filename": name, "content": shown["content"]}


@router.put("/competition/{cid}/{aid}/deploy", status_code=202)
def deploy(cid: Id, aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Queue an evaluation."""
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, aid, caller.user_id, cid)
        queued = service.deploy(session, agent, services)
        return {"deployment_id": queued.id, "status": agent.status, "message": agent.last_status_message}


@router.get("/competition/{cid}/{aid}/deploy")
def deploy_state(cid: Id, aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Get the deployment limits and the last evaluation."""
    with services.database.transaction(read_only=True) as session:
        agent = own_agent(session, aid, caller.user_id, cid)
        return service.deploy_state(session, agent, services.settings.daily_deploys)


@router.delete("/competition/{cid}/{aid}")
def delete_agent(cid: Id, aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Delete a submission."""
    with services.database.transaction(by=caller.user_id) as session:
        service.delete(session, own_agent(session, aid, caller.user_id, cid), caller.user_id)
    return {"message": "the agent was deleted"}


@router.put("/competition/{cid}/{aid}/cancel")
def cancel(cid: Id, aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Cancel the evaluation of a submission."""
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, aid, caller.user_id, cid)
        service.cancel(session, agent, caller.user_id)
        return service.status(session, agent, caller.user_id)


@router.get("/competition/{cid}/{aid}/status")
def agent_status(cid: Id, aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Get the status of a submission."""
    with services.database.transaction(read_only=True) as session:
        return service.status(session, own_agent(session, aid, caller.user_id, cid), caller.user_id)


@router.get("/agent/{aid}/games")
def games(aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """List the runs of an agent, with signed URLs of their logs."""
    with services.database.transaction(read_only=True) as session:
        agent = own_agent(session, aid, caller.user_id)
        is_held = holds_results(session, agent.competition, caller.user_id)
        runs = service.visible_runs(finished_runs(session, agent.id), is_held)
    return {"games": [_game(run, services, is_held) for run in runs]}


@router.get("/runtime_options/{cid}")
def runtime_options(cid: Id, caller: Participant, services: InjectedServices) -> list[dict[str, Any]]:
    """List the available runtimes."""
    with services.database.transaction(read_only=True) as session:
        visible_competition(session, cid, caller.user_id)
        return [service.runtime_row(runtime) for runtime in runtimes(session)]


@packages.get("/api/runtimes")
def all_runtimes(services: InjectedServices) -> dict[str, Any]:
    """List the runtimes with all packages that agents can import there. Needs no token."""
    with services.database.transaction(read_only=True) as session:
        return {"runtimes": describe_runtimes(session)}


@router.get("/agent_runtime/{aid}")
def agent_runtime(aid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Get the runtime of an agent."""
    with services.database.transaction(read_only=True) as session:
        agent = own_agent(session, aid, caller.user_id)
        runtime = session.get(Runtime, agent.runtime_id) if agent.runtime_id is not None else None
        if runtime is None:
            raise NotFoundError("the agent has no runtime")
        return service.runtime_row(runtime)


@router.put("/agent_runtime/{aid}")
def set_agent_runtime(
    aid: Id, choice: RuntimeChoice, caller: Participant, services: InjectedServices
) -> dict[str, Any]:
    """Set the runtime of an agent."""
    parse_ahead(services, caller.user_id, aid)
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, aid, caller.user_id)
        chosen = service.set_runtime(session, agent, choice.docker_image_agent_runtime_id, services.sources)
        record(session, caller.user_id, "agent.runtime", f"{aid} {chosen.id}", agent.competition_id)
        return service.runtime_row(chosen)


@creator.post("/{cid}/benchmark/run")
def benchmark_run(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Queue an evaluation of the benchmark agent."""
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        files = competition_files(session, own.id, FilePurpose.BENCHMARK)
    services.sources.parse_ahead((file.name, file.sha256, file.size) for file in files)
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        return {"simulation_id": run_benchmark(session, own, services).id, "status": "running"}


@creator.get("/{cid}/benchmark/status")
def benchmark_status(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Get the state of the benchmark's evaluation."""
    with services.database.transaction(read_only=True) as session:
        return benchmark_state(session, own_competition(session, cid, caller.user_id))


@logs.get("/logs/{run_id}", response_class=PlainTextResponse)
def log(
    run_id: Id,
    services: InjectedServices,
    expires: Annotated[int, Query()] = 0,
    signature: Annotated[str, Query()] = "",
) -> PlainTextResponse:
    """Get the log of a run. Needs a signed URL and no token."""
    if not services.is_signed(f"/logs/{run_id}", expires, signature):
        raise NotFoundError("the URL is not signed, or no longer good")
    with services.database.transaction(read_only=True) as session:
        run = session.get(Run, run_id)
    if run is None or run.log_sha256 is None:
        raise NotFoundError("there is no log")
    text = services.blobs.get(run.log_sha256).decode(errors="replace")
    return PlainTextResponse(text, headers={"X-Content-Type-Options": "nosniff"})


def _game(run: Run, services: Services, is_held: bool) -> dict[str, Any]:
    return {
        "id": run.id,
        "kind": run.kind,
        "status": run.status,
        "reward": service.visible_reward(run, is_held),
        "game_outcome": "completed" if run.reward is not None else "error",
        "error_type": run.error_type,
        "error_message": run.error_message,
        "wall_s": service.visible_figure(run.kind, run.wall_s),
        "peak_ram_bytes": service.visible_figure(run.kind, run.peak_ram_bytes),
        "finished_at_ts": run.finished_at,
        "signed_url": services.signed_url(f"/logs/{run.id}") if run.log_sha256 else None,
    }


def _file_row(name: str, sha256: str, size: int, services: Services, most: int = _SHOWN_BYTES) -> dict[str, Any]:
    text: str | None = None
    if size <= min(_SHOWN_BYTES, most):
        try:
            text = services.blobs.get(sha256).decode()
        except UnicodeDecodeError:
            text = None
    suffix = f".{name.rpartition('.')[2]}"
    return {"content": text, "language": _LANGUAGES.get(suffix, "text"), "is_binary": text is None, "size": size}

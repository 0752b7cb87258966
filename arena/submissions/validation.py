"""Checks whether files are a valid agent, without running them. What is found here costs no evaluation."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from ml_trainer_env.arena.files.sources import Source, Sources
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import runtimes
from ml_trainer_env.arena.submissions.repository import agent_files
from ml_trainer_env.arena.tables import NO_AGENT, Agent, AgentStatus, Runtime

__all__ = ["validate"]

_EDITABLE = (AgentStatus.CREATED, AgentStatus.UPLOAD_VALIDATED, AgentStatus.UPLOAD_FAILED, AgentStatus.DEPLOY_FAILED)

_REMEDY = (
    "write all of it to a file, in a notebook with %%writefile agent.py as the first line of the cell, and submit "
    'files=["agent.py"]'
)


def validate(session: Session, agent: Agent, sources: Sources) -> None:
    """Check the files of an agent and store the result."""
    problem = _find_problem(session, agent, sources)
    agent.files_ok, agent.files_message = problem is None, problem or "the files make an agent"
    if agent.status in _EDITABLE:
        agent.status = AgentStatus.UPLOAD_VALIDATED if agent.files_ok else AgentStatus.UPLOAD_FAILED
        agent.last_status_message = agent.files_message


def _find_problem(session: Session, agent: Agent, sources: Sources) -> str | None:
    """Find the reason why the files are not a valid agent; None if they are. Does not run them."""
    files = {file.name: file for file in agent_files(session, agent.id)}
    if "agent.py" not in files:
        return NO_AGENT
    for name, file in files.items():
        if problem := sources.find_problem(name, file.sha256, file.size):
            return problem
    source = sources.inspect(files["agent.py"].sha256, files["agent.py"].size)
    if source.undefined:
        return (
            f"agent.py is a class alone, and uses {', '.join(source.undefined)[:200]}, which nothing in it defines. A "
            f"client that is given a class may send it without what is around it: {_REMEDY}"
        )
    if lost := _find_unknown_import(session, agent, source, files):
        return lost
    classes = source.classes
    candidates = [one for one in classes if one.name == "Agent"] or (classes if len(classes) == 1 else [])
    if not candidates:
        return "agent.py should define a class Agent, or one class only"
    methods = Kernel(agent.competition.kernel).methods
    missing = [" or ".join(group) for group in methods if not candidates[0].methods.intersection(group)]
    if missing and not candidates[0].has_bases:
        return f"the class {candidates[0].name} should have a method {' and a method '.join(missing)}"
    return None


def _find_unknown_import(session: Session, agent: Agent, source: Source, files: Iterable[str]) -> str | None:
    """Find a module that agent.py imports, and that is neither among the files nor in the runtime."""
    runtime = session.get(Runtime, agent.runtime_id) if agent.runtime_id is not None else None
    if runtime is None or not runtime.available or not runtime.modules:
        return None
    own = {path.partition("/")[0].partition(".")[0] for path in files}
    unknown = sorted(name for name in source.imports if name.removeprefix(".") not in own)
    unknown = [name for name in unknown if name.startswith(".") or name not in runtime.modules]
    if not unknown:
        return None
    name = unknown[0].removeprefix(".")
    where = f"agent.py imports {name}, which is neither among the files nor in the runtime {runtime.framework}"
    having = [one.framework for one in runtimes(session) if name in one.modules and unknown[0] == name]
    if having:
        return f"{where}: choose the runtime {' or '.join(having)}"
    return (
        f"{where}. If it is a folder of yours: a client may send files without their folders, so submit a .zip "
        'archive, files=["my_agent.zip"], which keeps paths'
    )

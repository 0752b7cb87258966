"""The play: clients train, somebody kills, and in the end there is what they say and what the journal says."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from chaos_client import FAILED, RUBRIC, Client, Diary
from chaos_cluster import MortalCluster
from chaos_script import Kill, Strike, Victim, epochs_of, strikes
from chaos_server import TORCH_THREADS, MortalServer, until

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import JOURNAL_FILE, Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.store import CallRecord, Database, Journal
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.errors import ConfigError

Mortal = MortalServer | MortalCluster

CLIENTS = 4
KILLS_A_ROUND = 30
"""For every so many kills each client plays another episode."""

_LOG = logging.getLogger("chaos")


@dataclass(frozen=True)
class Struck:
    """A kill that took place.

    Attributes:
        victim: Of what.
        epochs: How many epochs had been acknowledged.
        waiting: How many clients had a call under way.
    """

    victim: Victim
    epochs: int
    waiting: int


@dataclass(frozen=True)
class Evidence:
    """What is left of a play.

    Attributes:
        server: The server or the cluster, which does not run any more.
        struck: The kills.
        diaries: What the clients know, an episode each.
    """

    server: Mortal
    struck: list[Struck]
    diaries: list[Diary]

    @property
    def summary(self) -> str:
        """What happened, in a line."""
        answers = [answer for diary in self.diaries for answer in diary.answers]
        facts = {
            **Counter(f"kills of {kill.victim}" for kill in self.struck),
            "kills while a client waited for an answer": sum(kill.waiting > 0 for kill in self.struck),
            "epochs": sum(diary.epochs for diary in self.diaries),
            "answers": len(answers),
            "resumes": sum(len(diary.resumes) for diary in self.diaries),
            "answers whose reply was lost and found": sum(answer.found for answer in answers),
            "calls that failed half-way": sum(FAILED in (answer.error or "") for answer in answers),
        }
        return ", ".join(f"{number} {what}" for what, number in facts.items())


async def play(mortal: Mortal, seed: int, kills: int, clients_at_once: int = CLIENTS) -> Evidence:
    """Have clients play while servers and their workers are killed.

    Args:
        mortal: The server or the cluster.
        seed: Fixes what the clients do, and when who is killed.
        kills: How often.
        clients_at_once: Clients that play beside each other.
    """
    rounds = -(-kills * CLIENTS // (KILLS_A_ROUND * clients_at_once))
    names = [
        f"client {number % clients_at_once} round {number // clients_at_once}"
        for number in range(clients_at_once * rounds)
    ]
    diaries = [Diary.blank(name, seed + number) for number, name in enumerate(names)]
    plan = strikes(seed, kills, sum(epochs_of(diary.calls) for diary in diaries), mortal.has_nodes)
    async with mortal as server, asyncio.TaskGroup() as group:
        clients = [Client(server.urls, diary) for diary in diaries]
        killer = group.create_task(_Killer(server, clients, seed).carry_out(plan))
        for number in range(clients_at_once):
            group.create_task(_play_in_turn(clients[number::clients_at_once], killer))
    await until(lambda: not server.processes(), "no process of the server is left")
    return Evidence(server, killer.result(), diaries)


async def undisturbed(folder: Path, diaries: list[Diary]) -> list[tuple[CallRecord, ...]]:
    """The same scripts played in this process, where nobody kills. Returns the calls of each episode."""
    environment = {
        "ML_TRAINER_STATE_DIR": str(folder),
        "ML_TRAINER_TORCH_THREADS": str(TORCH_THREADS),
        "ML_TRAINER_CACHE": "no",
        "ML_TRAINER_DOWNLOAD": "no",
    }
    services = Services(Settings.from_environment(environment), InProcessExecutor(TORCH_THREADS, probe=PROBE))
    try:
        for diary in diaries:
            await _play_undisturbed(services, diary)
    finally:
        await services.close()
    return await journaled(folder / JOURNAL_FILE, diaries)


async def journaled(place: Path | str, diaries: list[Diary]) -> list[tuple[CallRecord, ...]]:
    """The calls of each episode, as a journal has them."""
    database = Database(place)
    try:
        return [(await Journal(database).load(diary.name)).calls for diary in diaries]
    finally:
        database.close()


async def _play_in_turn(clients: list[Client], killer: asyncio.Task[list[Struck]]) -> None:
    """Play one episode after the other. The last one does not end before the last kill."""
    for client in clients:
        *calls, last = client.diary.calls
        await client.play(calls)
        if client is clients[-1]:
            await asyncio.wait([killer])
        await client.play([last])
        await client.leave()


class _Killer:
    """Whoever kills.

    Args:
        server: What to kill, and its workers.
        clients: The clients, whose connections it ends.
        seed: Fixes which worker and which connection.
    """

    def __init__(self, server: Mortal, clients: list[Client], seed: int) -> None:
        self._server = server
        self._clients = clients
        self._draw = random.Random(f"killer {seed}")
        self._struck: list[Struck] = []

    async def carry_out(self, plan: list[Strike]) -> list[Struck]:
        """Strike as planned."""
        for strike in plan:
            await until(lambda due=strike.epoch: self._epochs() >= due, f"{strike.epoch} epochs have run")
            for kill in strike.kills:
                await self._wait_for_the_moment(kill)
                self._note(kill.victim)
                await self._kill(kill.victim)
        return self._struck

    async def _wait_for_the_moment(self, kill: Kill) -> None:
        if kill.at_write:
            await self._server.next_write(unless=lambda: not self._waiting())
        await asyncio.sleep(kill.delay_s)

    async def _kill(self, victim: Victim) -> None:
        match victim:
            case Victim.SERVER:
                await self._server.die(self._draw)
            case Victim.WORKER:
                await self._server.lose_a_worker(self._draw)
            case Victim.NODE:
                await self._server.lose_a_node(self._draw)
            case Victim.CONNECTION:
                self._draw.choice(self._waiting() or self._clients).hang_up()

    def _note(self, victim: Victim) -> None:
        self._struck.append(Struck(victim, self._epochs(), len(self._waiting())))
        _LOG.info("kill %d: %s, at epoch %d", len(self._struck), victim, self._epochs())

    def _epochs(self) -> int:
        return sum(client.diary.epochs for client in self._clients)

    def _waiting(self) -> list[Client]:
        """Those who have a call under way."""
        return [client for client in self._clients if client.diary.is_waiting]


async def _play_undisturbed(services: Services, diary: Diary) -> None:
    request = EpisodeRequest(task_id="easy_mnist", episode_id=diary.name, seed=diary.seed, rubric=RUBRIC)
    episode = await services.registry.open(request)
    for call in diary.calls:
        with contextlib.suppress(EpisodeError, ConfigError):  # some are to be refused
            await episode.call(call.tool, call.arguments)

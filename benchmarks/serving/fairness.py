"""(c) Many sessions on one worker: whether each gets its turn."""

import asyncio
import statistics
import time
from pathlib import Path

from serving.clients import SocketSession
from serving.figures import Result, spread
from serving.processes import Server

__all__ = ["measure"]

SESSIONS = 16
EPOCHS = 20


def measure(folder: Path, _data_dir: str) -> list[Result]:
    """Measure."""
    with Server(folder, workers=1, torch_threads=2, cache="no") as server:
        return [asyncio.run(_equal(server.url)), asyncio.run(_unequal(server.url))]


async def _equal(url: str) -> Result:
    """All ask for as much, at the same time."""
    sessions = await _open(url)
    waits = await asyncio.gather(*(_wait(session, EPOCHS) for session in sessions))
    await _close(sessions)
    ratio = min(waits) / max(waits)
    lines = [
        (
            f"{SESSIONS} sessions on one worker, each with its own seed, ask for {EPOCHS} epochs of easy_mnist. "
            f"Seconds until the reply: least {min(waits):.2f}, median {statistics.median(waits):.2f}, most "
            f"{max(waits):.2f}; least / most = **{ratio:.3f}** (wanted: at least 0.5)."
        )
    ]
    return Result("Equal calls", lines, {"waits_s": sorted(waits), "ratio": ratio})


async def _unequal(url: str) -> Result:
    """Half ask for one epoch again and again while the others wait for twenty."""
    sessions = await _open(url)
    patient, brief = sessions[::2], sessions[1::2]
    short: list[float] = []

    async def again_and_again(session: SocketSession) -> None:
        while True:
            short.append(await _wait(session, 1))

    others = [asyncio.create_task(again_and_again(session)) for session in brief]
    long = await asyncio.gather(*(_wait(session, EPOCHS) for session in patient))
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await _close(sessions)
    epoch_s = sum(long) / len(long) / EPOCHS / SESSIONS
    lines = [
        (
            f"{len(patient)} sessions ask for {EPOCHS} epochs, {len(brief)} for one again and again: one epoch "
            f"took {spread(short, 2)} s (n = {len(short)}), one of {EPOCHS} epochs {spread(long, 2)} s. A round of all "
            f"{SESSIONS} is {SESSIONS * epoch_s:.2f} s; **the longest short call took {max(short) / min(long):.3f} of "
            "the quickest long one**."
        )
    ]
    return Result("Unequal calls", lines, {"short_s": sorted(short), "long_s": sorted(long)})


async def _open(url: str) -> list[SocketSession]:
    """Sessions that have trained once, so that nothing is done for the first time when it counts."""
    sessions = [await SocketSession.open(url) for _ in range(SESSIONS)]
    for seed, session in enumerate(sessions):
        await session.reset(task_id="easy_mnist", seed=1000 + seed)
        await session.call("run_epochs", num_epochs=1)
    return sessions


async def _close(sessions: list[SocketSession]) -> None:
    for session in sessions:
        await session.close()


async def _wait(session: SocketSession, epochs: int) -> float:
    began = time.perf_counter()
    await session.call("run_epochs", num_epochs=epochs)
    return time.perf_counter() - began

"""Equal inquiries are carried out once, whoever asks, and one who leaves takes nothing from the others."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ml_trainer_env.server.episodes.shared_inquiries import KNOWN_INQUIRIES, SharedInquiries

Figures = dict[str, Any]


class Work:
    """Carries out an inquiry when it is released. Counts how often it began and how often it was stopped."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = self.stopped = 0
        self.error = error
        self.released = asyncio.Event()

    async def __call__(self) -> Figures:
        self.begun += 1
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self.error is not None:
            raise self.error
        return {"loss": 1.5}


def law(test: Callable[[SharedInquiries], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A law that is tested on a loop of its own, with nothing known and nothing running."""

    def checked() -> None:
        asyncio.run(test(SharedInquiries()))

    checked.__name__ = test.__name__
    return checked


async def begun(*tasks: "asyncio.Task[Figures]") -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


@law
async def test_those_who_ask_together_share_one_and_later_ones_need_none(shared: SharedInquiries) -> None:
    work = Work()
    asked = [asyncio.ensure_future(shared.figures("a", work)) for _ in range(5)]
    await begun(*asked)
    work.released.set()

    assert await asyncio.gather(*asked, shared.figures("a", work)) == [{"loss": 1.5}] * 6
    assert work.begun == 1


@law
async def test_different_ones_share_nothing(shared: SharedInquiries) -> None:
    work = Work()
    work.released.set()

    await asyncio.gather(shared.figures("a", work), shared.figures("b", work))

    assert work.begun == 2


@law
async def test_one_who_leaves_does_not_stop_it_and_the_last_one_does(shared: SharedInquiries) -> None:
    work = Work()
    first, last = (asyncio.ensure_future(shared.figures("a", work)) for _ in range(2))
    await begun(first, last)
    first.cancel()
    await begun(last)
    assert (first.cancelled(), work.stopped) == (True, 0)

    last.cancel()
    with pytest.raises(asyncio.CancelledError):
        await last
    work.released.set()

    assert await shared.figures("a", work) == {"loss": 1.5}  # the one who asks next does not meet what was stopped
    assert (work.begun, work.stopped) == (2, 1)


@law
async def test_all_who_wait_receive_the_error_and_the_next_begins_anew(shared: SharedInquiries) -> None:
    work = Work(ValueError("no worker is left"))
    asked = [asyncio.ensure_future(shared.figures("a", work)) for _ in range(2)]
    await begun(*asked)
    work.released.set()

    assert [str(error) for error in await asyncio.gather(*asked, return_exceptions=True)] == ["no worker is left"] * 2
    work.error = None
    assert await shared.figures("a", work) == {"loss": 1.5}


@law
async def test_what_is_returned_belongs_to_who_asked(shared: SharedInquiries) -> None:
    work = Work()
    work.released.set()
    (await shared.figures("a", work))["loss"] = 0.0

    assert await shared.figures("a", work) == {"loss": 1.5}


@law
async def test_so_many_are_remembered_and_no_more(shared: SharedInquiries) -> None:
    work = Work()
    work.released.set()
    for number in range(KNOWN_INQUIRIES + 1):
        await shared.figures(number, work)

    await shared.figures(KNOWN_INQUIRIES, work)
    assert work.begun == KNOWN_INQUIRIES + 1
    await shared.figures(0, work)
    assert work.begun == KNOWN_INQUIRIES + 2

"""Inquiries of many episodes, each carried out once for all that ask at the same time or later."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["SharedInquiries"]

KNOWN_INQUIRIES = 1024
"""The figures of so many inquiries are remembered. They are a few numbers each."""


class SharedInquiries:
    """Carries out equal inquiries once. Parallel episodes of one task and seed ask for the same figures."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Figures] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[Figures]] = {}
        self._waiting: dict[asyncio.Task[Figures], int] = {}

    async def figures(self, inquiry: Hashable, carry_out: Callable[[], Awaitable[Figures]]) -> Figures:
        """Return the figures of an inquiry.

        If it fails, all who wait for it receive the error, and the next one begins anew. If all who wait for it are
        cancelled, it is stopped.

        Args:
            inquiry: The inquiry. Equal ones have the same figures.
            carry_out: Carries it out.
        """
        if (known := self._known.get(inquiry)) is not None:
            self._known.move_to_end(inquiry)
            return dict(known)
        task = self._running.get(inquiry)
        if task is None:
            task = self._running[inquiry] = asyncio.ensure_future(self._carry_out(inquiry, carry_out))
        self._waiting[task] = self._waiting.get(task, 0) + 1
        try:
            return dict(await asyncio.shield(task))
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                task.cancel()  # does nothing if it has ended
                if self._running.get(inquiry) is task:
                    del self._running[inquiry]

    async def _carry_out(self, inquiry: Hashable, carry_out: Callable[[], Awaitable[Figures]]) -> Figures:
        figures = await carry_out()
        self._known[inquiry] = figures
        if len(self._known) > KNOWN_INQUIRIES:
            self._known.popitem(last=False)
        return figures

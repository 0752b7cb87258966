"""A visit of a page in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, expect

__all__ = ["Visit", "visit"]

LIMIT_MS = 120_000


@dataclass
class Visit:
    """A page, what it logged, and what it loaded."""

    page: Page
    errors: list[str] = field(default_factory=list)
    loaded: dict[str, int] = field(default_factory=dict)

    def weight(self) -> int:
        """The bytes that came over the network for the page, with their headers, event streams aside."""
        found = self.page.evaluate(
            """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
              .reduce((sum, one) => sum + one.transferSize, 0)"""
        )
        return int(found)


@contextmanager
def visit(browser: Browser, address: str, missing: bool = False, **options: Any) -> Iterator[Visit]:
    """Open a page. At the end it must have logged no error, and loaded nothing from elsewhere."""
    context = browser.new_context(**options)
    seen = Visit(context.new_page())

    def log(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            seen.errors.append(message.text)

    def load(response: Response) -> None:
        if "text/event-stream" in response.headers.get("content-type", ""):
            return
        with suppress(Error):  # the page was left before it had come
            seen.loaded[response.url] = len(response.body())

    seen.page.on("console", log)
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("response", load)
    seen.page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    seen.page.goto(address)
    yield seen
    if not missing:
        assert seen.errors == []
    assert {urlsplit(url).netloc for url in seen.loaded} == {urlsplit(address).netloc}
    assert seen.page.evaluate("window.pwned") is None
    context.close()

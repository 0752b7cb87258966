"""Who may do what, in a real browser: observers sign in and play nothing, and pages of other servers change nothing."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from served_here import served_here
from visits import LIMIT_MS, visit

pytestmark = pytest.mark.slow  # they start a browser

TOKEN, WATCHER = "correct-horse-battery", "observing-horse-battery"

SENDS = """async (address) => {
  const common = {method: "POST", body: "{}", credentials: "include"};
  const post = (path, options) => () => fetch(address + path, {...common, ...options});
  const open = (path) => () => new Promise((resolve, reject) => {
    const socket = new WebSocket(address.replace("http", "ws") + path);
    socket.onopen = () => { socket.close(); resolve({status: 101}); };
    socket.onerror = reject;
  });
  const sends = {
    json: post("/reset", {headers: {"Content-Type": "application/json"}}),
    simple: post("/reset", {mode: "no-cors"}),
    fleet: post("/fleet/reset", {mode: "no-cors"}),
    read: () => fetch(address + "/room/api/episodes", {credentials: "include"}),
    socket: open("/ws"),
    other: open("/fleet/ws"),
  };
  const told = {};
  for (const [name, send] of Object.entries(sends))
    told[name] = await send().then((one) => one.status, () => "refused");
  return told;
}"""


class Blank(BaseHTTPRequestHandler):
    """A page without anything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>another server</title>")

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    variables = {"TOKEN": TOKEN, "OBSERVER_TOKEN": WATCHER}
    with served_here(tmp_path_factory.mktemp("state"), **variables) as (address, _):
        yield f"http://{address}"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """Another server on this machine. Browsers send it, and its pages, the cookies of all others here."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#connection")).to_have_text("connected")


def test_an_observer_watches_is_told_why_nothing_is_played_and_signs_in_as_a_player(browser: Browser, url: str) -> None:
    with visit(browser, f"{url}/room", missing=True) as seen:  # it logs what is refused
        page = seen.page
        sign_in(page, WATCHER)
        page.get_by_role("link", name="Play").click()
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#told")).to_contain_text("An observer's token only reads")
        page.get_by_role("link", name="Sign in with another token").click()
        sign_in(page, TOKEN)
        page.get_by_role("link", name="Play").click()
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#tools details")).to_have_count(9)


def test_a_page_of_another_server_reads_and_changes_nothing_for_a_player(
    browser: Browser, url: str, elsewhere: str
) -> None:
    def journal() -> Any:
        presented = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"{url}/room/api/episodes", headers=presented, trust_env=False).json()["episodes"]

    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(LIMIT_MS)
    page.goto(f"{url}/room")
    sign_in(page, TOKEN)
    own = page.evaluate(SENDS, url)
    before = journal()
    statuses = []
    page.on("response", lambda answer: statuses.append(answer.status) if answer.url.startswith(url) else None)
    page.goto(elsewhere)
    foreign = page.evaluate(SENDS, url)
    with page.expect_response(f"{url}/reset"):
        page.evaluate(
            """(address) => {
              const form = document.body.appendChild(document.createElement("form"));
              Object.assign(form, {method: "post", action: `${address}/reset`, enctype: "text/plain"}).submit();
            }""",
            url,
        )
    context.close()

    assert (own["json"], own["read"], own["socket"], own["other"]) == (200, 200, 101, 101)
    assert foreign == {
        **dict.fromkeys(("json", "read", "socket", "other"), "refused"),
        **dict.fromkeys(("simple", "fleet"), 0),  # it was sent, and what came back is hidden from the page
    }
    assert set(statuses) == {403}
    assert journal() == before

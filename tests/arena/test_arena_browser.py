"""The pages in a real browser: by keyboard, on a phone, live, in both colour schemes, and whatever others have written.

Needs Chromium on the PATH. A page that logs an error, such as what its Content-Security-Policy has blocked, or that
fails to load a part of it, fails its test.
"""

import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from arena_service import Arena
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, expect, sync_playwright

from ml_trainer_env.arena.client import Client, connect

pytestmark = pytest.mark.slow  # they start a browser

LIMIT_S = 120.0
LIVE_MS = LIMIT_S * 1000

PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "is_mobile": True, "has_touch": True}
AA_CONTRAST = 4.5
"""Of text against what is behind it (WCAG 2.2, 1.4.3)."""
AA_TARGET_PX = 24
"""Of what is tapped (WCAG 2.2, 2.5.8)."""

TITLE = "Digits in the dark"
LONG_NAME = "long" * 16
AGENT = """class Agent:
    def train(self, X, y):
        print("<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>")
        print("line" * 500)
        {train}

    def predict(self, X):
        return [{label}] * len(X)
"""
RULES = """# Rules

See [the paper](https://example.org), <script>window.pwned = 1</script> <img src=x onerror="window.pwned = 1">
[one](javascript:window.pwned=1) [another](JaVaScRiPt:window.pwned=1) <javascript:window.pwned=1>
![a picture](https://example.org/picture.png) [data](data:text/html,<script>window.pwned=1</script>)

## Prizes

| Place | What the winner may do with it | Sponsor of the prize | Deadline for the claim | Weight |
|:--|:-:|---|---|--:|
| 1 | all that the law of the land allows | a foundation | the last day of the year | 0.5 |

```python
unbroken = "%s"
```
""" % ("x" * 400)

FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return {
    name: one.labels?.[0]?.textContent ?? one.ariaLabel ?? one.textContent.trim(),
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    on_screen: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
  };
}"""

SMALL_TEXT = """() => [...document.querySelectorAll("body, p, li, td, th, a, label, input, button, summary")]
  .filter((one) => parseFloat(getComputedStyle(one).fontSize) < 16).map((one) => one.outerHTML)"""

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (color, opacity = 1) => {
    canvas.globalAlpha = opacity;
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
  };
  const luminance = () => {
    const linear = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map((byte) => byte / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.backgroundColor = "Canvas";
  const page = getComputedStyle(probe).backgroundColor;
  probe.remove();
  const holdsText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")].filter(holdsText).map((one) => {
    const styles = [];
    for (let above = one; above; above = above.parentElement) styles.unshift(getComputedStyle(above));
    paint(page);
    for (const style of styles) paint(style.backgroundColor);
    const behind = luminance();
    paint(styles.at(-1).color, styles.reduce((product, style) => product * parseFloat(style.opacity), 1));
    const text = luminance();
    return [one.outerHTML.slice(0, 80), (Math.max(behind, text) + 0.05) / (Math.min(behind, text) + 0.05)];
  });
}"""


@dataclass(frozen=True)
class Contest:
    """A competition with hostile rules, a picture and two submissions of one user's, one of which has failed."""

    cid: int
    active: int
    failed: int
    token: str
    organiser: str

    @property
    def path(self) -> str:
        return f"/competitions/{self.cid}"

    @property
    def paths(self) -> tuple[str, ...]:
        tabs = (f"{self.path}/{tab}" for tab in ("rules", "scores", "submit"))
        own = (f"/submissions/{number}" for number in (self.active, self.failed))
        return "/", "/signin", self.path, *tabs, *own, "/submissions", "/users/ada", "/runtimes"

    @property
    def views(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The pages, with the token of somebody who may see them: a participant, an organiser."""
        organised = f"{self.path}/organise"
        return (self.token, self.paths), (self.organiser, (organised, f"{organised}/audit"))


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def attach(client: Client, cid: int, name: str, train: str = "pass", label: int = 0) -> int:
    aid: int = client.create_attached_agent(cid, name)["attache_agent_id"]
    client.update_agent_file_content(cid, aid, "agent.py", AGENT.format(train=train, label=label))
    return aid


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        expect.set_options(timeout=LIVE_MS)  # the machine may be busy
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # root may not have one
        yield found
        found.close()


@pytest.fixture(scope="module")
def contest(arena: Arena, tmp_path_factory: pytest.TempPathFactory) -> Contest:
    picture = tmp_path_factory.mktemp("picture") / "picture.png"
    picture.write_bytes(png(1200, 300))
    organiser = arena.token("carl", "creator")
    with connect(organiser, arena.url) as client:
        cid: int = client.create_competition(TITLE, "permuted_mnist", description="<b>Plain</b>")["competition_id"]
        client.update_settings(
            cid,
            evaluation_deployment_nb_constraint_run=0,
            evaluation_deployment_nb_initial_score_run=1,
            max_active_agents_per_participant=1000,
        )
        client.set_competition_markdown(cid, RULES)
        client.set_competition_image(cid, picture)
        client.update_benchmark_file_content(cid, "agent.py", AGENT.format(train="pass", label=0))
        client.run_benchmark(cid)
        wait(lambda: client.benchmark_status(cid)["status"] != "running")
        client.start_competition(cid)
    token = arena.token("ada")
    with connect(token, arena.url) as client:
        active, failed = attach(client, cid, LONG_NAME), attach(client, cid, "failing", "raise ValueError('oh')")
        client.deploy_agent(cid, active)
        client.deploy_agent(cid, failed)
        wait(lambda: client.agent_status(cid, failed)["status"] == "deploy_failed")
        wait(lambda: client.agent_status(cid, active)["status"] == "active")
    return Contest(cid, active, failed, token, organiser)


@pytest.fixture
def owner(arena: Arena, contest: Contest) -> Iterator[Client]:
    with connect(contest.token, arena.url) as client:
        yield client


@pytest.fixture
def visit(browser: Browser, arena: Arena) -> Iterator[Callable[..., Page]]:
    """Opens a browser without a past, signed in if a token is given."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    def on_response(response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            complaints.append(f"{response.status} {response.url}")

    def opened(token: str = "", **options: Any) -> Page:
        page = browser.new_context(base_url=arena.url, **options).new_page()
        page.set_default_timeout(LIVE_MS)
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", on_response)
        if token:
            page.goto("/signin")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        return page

    yield opened
    for context in browser.contexts:
        context.close()
    assert complaints == []


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus, which every stop on the way shows."""
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        assert stop["outlined"], stop
        assert stop["on_screen"], stop
        if stop["name"] == name:
            return
    pytest.fail(f"Tab does not reach {name}")


def test_a_keyboard_leads_from_the_first_page_to_ones_own_submission(visit: Any, contest: Contest) -> None:
    page = visit()
    page.goto("/")

    tab_to(page, "Sign in")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/signin")
    tab_to(page, "Token")
    page.keyboard.type(contest.token)
    page.keyboard.press("Enter")
    expect(page).to_have_url("/")
    tab_to(page, TITLE)
    page.keyboard.press("Enter")
    expect(page).to_have_url(contest.path)
    tab_to(page, "failing " + str(contest.failed))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("failing")
    tab_to(page, "Runs")
    tab_to(page, "Run 1, score: code_error")


def test_every_page_begins_with_a_link_past_the_navigation(visit: Any, contest: Contest) -> None:
    for token, paths in contest.views:
        page = visit(token)
        for path in paths:
            page.goto(path)
            page.keyboard.press("Tab")
            assert page.evaluate(FOCUSED) == {"name": "Skip to content", "outlined": True, "on_screen": True}
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            assert page.evaluate("document.querySelector('main').contains(document.activeElement)"), path


def test_no_page_scrolls_sideways_on_a_phone(visit: Any, contest: Contest) -> None:
    for token, paths in contest.views:
        page = visit(token, **PHONE)
        for path in (*paths, "/nothing"):
            page.goto(path)
            page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
            width, shown = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert width <= shown == PHONE["viewport"]["width"], path


def test_wide_tables_scroll_within_their_regions_on_a_phone(visit: Any, contest: Contest) -> None:
    page = visit(**PHONE)

    for name, below in (
        ("Table", "/rules"),
        ("Leaderboard", ""),
        ("Score over time", "/scores"),
        ("Figures", "/scores"),
    ):
        page.goto(f"{contest.path}{below}")
        region = page.get_by_role("region", name=name)
        region.evaluate("one => one.scrollTo(1000, 0)")
        assert region.evaluate("one => one.scrollLeft") > 0, name


def test_text_on_a_phone_is_as_large_as_readers_have_set_it(visit: Any, contest: Contest) -> None:
    for token, paths in contest.views:
        page = visit(token, **PHONE)
        for path in paths:
            page.goto(path)
            assert page.evaluate(SMALL_TEXT) == [], path


@pytest.mark.parametrize("signed_in", [False, True], ids=["signed out", "signed in"])
def test_what_navigates_is_large_enough_for_a_finger(visit: Any, contest: Contest, signed_in: bool) -> None:
    page = visit(contest.token if signed_in else "", **PHONE)
    page.goto("/?q=d")
    for one in page.locator("nav :is(a, button), main :is(button, input, h2 a)").all():
        assert one.bounding_box()["height"] >= AA_TARGET_PX, one


def test_what_is_tapped_on_the_pages_of_a_submission_and_of_organisers_is_large_enough(
    visit: Any, contest: Contest
) -> None:
    for token, path in (
        (contest.token, f"/submissions/{contest.active}"),
        (contest.organiser, f"{contest.path}/organise"),
        (contest.organiser, f"{contest.path}/organise/audit"),
    ):
        page = visit(token, **PHONE)
        page.goto(path)
        controls = page.locator("main :is(button, input)").all()
        assert len(controls) > 1
        for one in controls:
            box = one.bounding_box()
            assert min(box["height"], box["width"]) >= AA_TARGET_PX, one


def test_an_open_board_shows_a_new_agent(visit: Any, contest: Contest, owner: Client) -> None:
    page = visit()
    page.goto(contest.path)
    page.evaluate("window.sameDocument = true")
    board = page.get_by_role("region", name="Leaderboard")
    board.focus()

    owner.deploy_agent(contest.cid, attach(owner, contest.cid, "newcomer", label=1))

    expect(board.get_by_role("cell", name="newcomer")).to_be_visible(timeout=LIVE_MS)
    expect(board).to_be_focused()
    assert page.evaluate("window.sameDocument")


def test_an_open_submission_comes_to_its_end_and_shows_its_log(visit: Any, contest: Contest, owner: Client) -> None:
    aid = attach(owner, contest.cid, "watched", label=2)
    page = visit(contest.token)
    page.goto(f"/submissions/{aid}")
    page.evaluate("window.sameDocument = true")
    expect(page.get_by_role("status")).to_contain_text("upload_validated")

    owner.deploy_agent(contest.cid, aid)

    expect(page.get_by_role("status")).to_contain_text("active", timeout=LIVE_MS)
    page.get_by_text("Run 1, score").click()
    expect(page.locator("details", has_text="Run 1, score")).to_contain_text("window.pwned = 1")
    assert page.evaluate("window.sameDocument")


def test_focus_and_what_the_reader_has_closed_stay_when_logs_come(visit: Any, contest: Contest, owner: Client) -> None:
    aid = attach(owner, contest.cid, "mended", "raise ValueError('oh')")
    owner.deploy_agent(contest.cid, aid)
    wait(lambda: owner.agent_status(contest.cid, aid)["status"] == "deploy_failed")
    page = visit(contest.token)
    page.goto(f"/submissions/{aid}")
    failed = page.locator("details", has_text="code_error")
    failed.locator("summary").focus()
    page.keyboard.press("Enter")

    owner.update_agent_file_content(contest.cid, aid, "agent.py", AGENT.format(train="pass", label=3))
    owner.deploy_agent(contest.cid, aid)

    expect(page.get_by_role("status")).to_contain_text("active", timeout=LIVE_MS)
    assert page.locator("details").count() >= 2
    assert failed.get_attribute("open") is None
    expect(failed.locator("summary")).to_be_focused()


def test_nothing_that_creators_and_agents_write_runs(visit: Any, contest: Contest) -> None:
    page = visit(contest.token)
    for path, text in (
        (f"{contest.path}/rules", "<script>window.pwned = 1</script> <img src=x"),
        (contest.path, "<b>Plain</b>"),
        (f"/submissions/{contest.active}", "<script>window.pwned = 1</script><img src=x"),
        (f"/submissions/{contest.failed}", "ValueError: oh"),
    ):
        page.goto(path)
        assert text in page.locator("main").text_content()
        assert page.evaluate("window.pwned") is None
        links = page.locator("main a").evaluate_all("links => links.map((link) => link.protocol)")
        assert set(links) <= {"http:", "https:"}


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
def test_a_folder_is_submitted_by_keyboard_and_keeps_its_paths(
    visit: Any, contest: Contest, owner: Client, tmp_path: Any, device: dict[str, Any]
) -> None:
    folder = tmp_path / "mine"
    source = "from models import LABEL\n" + AGENT.format(train="pass", label="LABEL")
    files = {"agent.py": source, "models/__init__.py": "from .net import LABEL\n", "models/net.py": "LABEL = 4\n"}
    for path, text in (files | {"utils/__init__.py": "", ".hidden": "x"}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    page = visit(contest.token, **device)
    page.goto(contest.path)

    tab_to(page, "Submit")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Submit", exact=True)).to_have_attribute("aria-current", "page")
    tab_to(page, "Name")
    page.keyboard.type("by keyboard")
    tab_to(page, "Or a folder")
    page.get_by_label("Or a folder").set_input_files(folder)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")
    expect(page.get_by_role("status")).to_contain_text("active", timeout=LIVE_MS)
    aid = int(page.url.rpartition("/")[2])
    assert set(owner.list_agent_files(contest.cid, aid)["files"]) == {*files, "utils/__init__.py"}
    page.goto("/submissions")
    tab_to(page, f"by keyboard {aid}")


def test_a_refused_upload_says_why_and_keeps_the_name(visit: Any, contest: Contest, tmp_path: Any) -> None:
    (tmp_path / "model.pt").write_text("x")
    page = visit(contest.token, **PHONE)
    page.goto(f"{contest.path}/submit")
    expect(page.get_by_text("times in 24 hours")).to_be_visible()
    page.get_by_label("Name").fill("refused")
    page.get_by_label("Files, or a .zip archive").set_input_files(tmp_path / "model.pt")

    page.get_by_role("button", name="Submit").click()

    expect(page.get_by_role("alert")).to_contain_text("there is no agent.py")
    expect(page.get_by_label("Name")).to_have_value("refused")
    width, shown = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width <= shown


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
def test_files_of_a_submission_are_replaced_and_it_is_deleted(
    visit: Any, contest: Contest, owner: Client, tmp_path: Any, device: dict[str, Any]
) -> None:
    aid = attach(owner, contest.cid, "replaced", "raise ValueError('oh')")
    owner.update_agent_file_content(contest.cid, aid, "old.py", "")
    (tmp_path / "agent.py").write_text(AGENT.format(train="pass", label=5))
    page = visit(contest.token, **device)
    page.goto(f"/submissions/{aid}")
    expect(page.get_by_role("listitem").filter(has_text="old.py")).to_be_visible()

    tab_to(page, "Files, or a .zip archive")
    page.get_by_label("Files, or a .zip archive").set_input_files(tmp_path / "agent.py")
    tab_to(page, "Remove all other files")
    page.keyboard.press("Space")
    tab_to(page, "Replace files")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_contain_text("active", timeout=LIVE_MS)
    expect(page.get_by_role("listitem").filter(has_text="old.py")).to_have_count(0)
    assert set(owner.list_agent_files(contest.cid, aid)["files"]) == {"agent.py"}
    page.get_by_role("button", name="Delete the submission").click()
    expect(page).to_have_url(contest.path)
    page.goto("/submissions")
    expect(page.get_by_role("link", name=f"replaced {aid}")).to_have_count(0)


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
def test_an_organiser_holds_results_back_and_runs_a_submission_again_by_keyboard(
    visit: Any, contest: Contest, owner: Client, device: dict[str, Any]
) -> None:
    name = "on a phone" if device else "at a desk"
    aid = attach(owner, contest.cid, name, label=6)
    owner.deploy_agent(contest.cid, aid)
    wait(lambda: owner.agent_status(contest.cid, aid)["status"] == "active")
    page, reader = visit(contest.organiser, **device), visit(**device)
    page.goto(contest.path)
    tab_to(page, "Organise")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Save rules")).to_be_visible()

    for held in (True, False):
        tab_to(page, "Hold results back")
        page.keyboard.press("Space")
        tab_to(page, "Save rules")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.get_by_label("Hold results back")).to_be_checked(checked=held)
        reader.goto(contest.path)
        board = reader.get_by_role("region", name="Leaderboard")
        expect(board.get_by_role("cell", name=name)).to_have_count(0 if held else 1)

    own = visit(contest.token)
    own.goto(f"/submissions/{aid}")
    runs = own.locator("details").count()
    table = page.get_by_role("region", name="Submissions")
    button = table.get_by_role("button", name=f"Run {aid} again")
    button.focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(own.locator("details")).to_have_count(2 * runs, timeout=LIVE_MS)
    expect(own.get_by_role("status")).to_contain_text("active", timeout=LIVE_MS)
    tab_to(page, "Audit log")
    page.keyboard.press("Enter")
    log = page.get_by_role("region", name="Audit log")
    expect(log.get_by_role("row").filter(has_text="rerun").filter(has_text=str(aid)).first).to_contain_text("carl")


def test_a_board_leads_to_its_people(visit: Any, contest: Contest) -> None:
    page = visit()
    page.goto(contest.path)
    page.get_by_role("region", name="Leaderboard").get_by_role("link", name="ada").first.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("ada")
    expect(page.get_by_role("region", name="On leaderboards").get_by_role("link", name=TITLE).first).to_be_visible()


def test_the_picture_of_a_competition_is_shown(visit: Any, contest: Contest) -> None:
    page = visit(**PHONE)
    page.goto(contest.path)
    picture = page.locator("img")

    assert picture.evaluate("one => [one.complete, one.naturalWidth, one.alt]") == [True, 1200, ""]
    assert picture.bounding_box()["width"] <= PHONE["viewport"]["width"]


def test_every_page_has_a_structure_that_can_be_read_aloud(visit: Any, contest: Contest) -> None:
    titles = set()
    for token, paths in contest.views:
        page = visit(token)
        for path in paths:
            page.goto(path)
            titles.add(page.title())
            assert page.locator("html").get_attribute("lang") == "en"
            assert page.get_by_role("heading", level=1).count() == 1
            assert page.get_by_role("main").count() == page.get_by_role("navigation", name="Main").count() == 1
            levels = page.get_by_role("heading").evaluate_all("all => all.map((one) => +one.tagName[1])")
            assert all(after <= before + 1 for before, after in pairwise(levels)), levels
            assert page.locator("th:not([scope])").count() == 0
            assert page.locator("input, select").evaluate_all("all => all.every((one) => one.labels.length)")
            assert page.locator("img:not([alt])").count() == 0
    assert len(titles) == sum(len(paths) for _, paths in contest.views)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(visit: Any, contest: Contest, scheme: str) -> None:
    for token, paths in contest.views:
        page = visit(token, color_scheme=scheme)
        for path in (*paths, "/nothing"):
            page.goto(path)
            if path == "/signin":
                page.get_by_label("Token").fill("wrong")
                page.get_by_role("button", name="Sign in").click()
                expect(page.get_by_role("alert")).to_be_visible()
            found = page.evaluate(CONTRASTS)
            assert len(found) > 3
            assert [(html, ratio) for html, ratio in found if ratio < AA_CONTRAST] == [], path


def test_signing_out_ends_it(visit: Any, contest: Contest) -> None:
    page = visit(contest.token)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()

    page.goto(f"/submissions/{contest.active}")

    expect(page.get_by_role("alert")).to_have_text("sign in to see a submission of yours")
    assert page.context.cookies() == []

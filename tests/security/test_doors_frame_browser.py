"""The page in a frame of another site over HTTPS, as a Space lies on Hugging Face, in a real browser.

Needs Chromium on the PATH. Every name leads to this machine; the certificate is the test's own.
"""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, expect, sync_playwright

pytestmark = pytest.mark.slow  # they start a browser

TOKEN = "a-secret-of-the-tests"
SPACE, HUB = "owner-name.space.test", "hub.test"
LIMIT_S = 120.0
LIMIT_MS = LIMIT_S * 1000

ATTACKS = """async (address) => {
  const outcomes = {};
  const sends = {
    post: () => fetch(address + "/reset", {method: "POST", mode: "no-cors", credentials: "include"}),
    get: () => fetch(address + "/state", {mode: "no-cors", credentials: "include"}),
    read: () => fetch(address + "/state", {credentials: "include"}),
    socket: () => new Promise((resolve, reject) => {
      const socket = new WebSocket(address.replace("https", "wss") + "/ws");
      socket.onopen = resolve;
      socket.onerror = reject;
    }),
  };
  for (const [name, send] of Object.entries(sends))
    outcomes[name] = await send().then((answer) => answer?.type ?? "open", () => "refused");
  return outcomes;
}"""


@dataclass(frozen=True)
class Sites:
    """A server, and another site with a page that has it in a frame."""

    space: str
    hub: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SPACE), x509.DNSName(HUB)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def space(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("space"), free_port()
    variables = {
        "ML_TRAINER_TOKEN": TOKEN,
        "ML_TRAINER_STATE_DIR": str(folder),
        "ML_TRAINER_DOWNLOAD": "no",
        "ML_TRAINER_WORKERS": "1",
        "ML_TRAINER_ALLOWED_HOSTS": SPACE,
        "SPACE_HOST": SPACE,
    }
    command = [sys.executable, "-m", "uvicorn", "ml_trainer_env.server.app:app", "--port", str(port)]
    command += ["--ssl-certfile", str(certificate[0]), "--ssl-keyfile", str(certificate[1])]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        ends_at = time.monotonic() + LIMIT_S
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < ends_at
            try:
                httpx.get(f"https://127.0.0.1:{port}/health", verify=False, trust_env=False).raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield f"https://{SPACE}:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def sites(space: str, certificate: tuple[Path, Path]) -> Iterator[Sites]:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<!doctype html><iframe src="{space}/web" width=900 height=600></iframe>'.encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Sites(space, f"https://{HUB}:{server.server_address[1]}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * 127.0.0.1", "--test-third-party-cookie-phaseout"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=arguments)
        yield found
        found.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(ignore_https_errors=True)
    opened.set_default_timeout(LIMIT_MS)
    yield opened
    opened.close()


def sign_in(page: Page | FrameLocator) -> None:
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Live")).to_be_visible(timeout=LIMIT_MS)


def framed(context: BrowserContext, sites: Sites) -> tuple[Page, FrameLocator]:
    page = context.new_page()
    page.goto(sites.hub, timeout=LIMIT_MS)
    return page, page.frame_locator("iframe")


def test_signing_in_succeeds_in_a_frame_of_another_site_and_lasts(context: BrowserContext, sites: Sites) -> None:
    page, frame = framed(context, sites)

    sign_in(frame)
    page.reload()

    expect(frame.get_by_role("heading", name="Live")).to_be_visible(timeout=LIMIT_MS)
    (cookie,) = [one for one in context.cookies() if one["name"] == "ml_trainer_token"]
    assert (cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) == ("None", True, True)
    assert cookie["partitionKey"] == f"https://{HUB}"


def test_who_signed_in_in_a_frame_is_not_signed_in_elsewhere(context: BrowserContext, sites: Sites) -> None:
    _, frame = framed(context, sites)
    sign_in(frame)

    own_tab = context.new_page()
    own_tab.goto(f"{sites.space}/web", timeout=LIMIT_MS)

    expect(own_tab.get_by_label("Token")).to_be_visible(timeout=LIMIT_MS)
    sign_in(own_tab)


def test_the_site_around_the_frame_can_use_the_cookie_for_nothing(context: BrowserContext, sites: Sites) -> None:
    page, frame = framed(context, sites)
    sign_in(frame)
    statuses: dict[str, int] = {}
    page.on("response", lambda answer: statuses.update({f"{answer.request.method} {answer.url}": answer.status}))

    outcomes = page.evaluate(ATTACKS, sites.space)

    assert outcomes == {"post": "opaque", "get": "opaque", "read": "refused", "socket": "refused"}
    assert statuses[f"POST {sites.space}/reset"] == 403
    assert statuses[f"GET {sites.space}/state"] in {401, 403}


def test_the_form_in_the_frame_links_to_a_tab_of_its_own(context: BrowserContext, sites: Sites) -> None:
    _, frame = framed(context, sites)
    link = frame.get_by_role("link", name="Open this page in its own tab")

    expect(link).to_have_attribute("target", "_blank", timeout=LIMIT_MS)
    assert link.get_attribute("href") == f"https://{SPACE}/web"

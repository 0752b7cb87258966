"""Checks pages with axe-core in Chromium: `axe_check.py CHROMIUM ADDRESS...`.

Prints the serious and critical violations of each page in each colour scheme, and how many rules passed.
"""

import json
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

SERIOUS = {"serious", "critical"}
SIZES = {"light": {"width": 1280, "height": 800}, "dark": {"width": 390, "height": 844}}

found, passed = {}, 0
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    for address in sys.argv[2:]:
        for scheme, size in SIZES.items():
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(address)
            if page.locator("#told").count():
                page.wait_for_function("!document.getElementById('told').textContent.startsWith('Loading')")
            if page.locator("#waiting").count():
                page.wait_for_selector("canvas")
            told = Axe().run(page).response
            passed += len(told["passes"])
            for rule in told["violations"]:
                if rule["impact"] in SERIOUS:
                    parts = [node["html"][:200] + " " + node["failureSummary"] for node in rule["nodes"][:3]]
                    found.setdefault(f"{address} {scheme}", []).append([rule["id"], parts])
            page.close()
    browser.close()
print(json.dumps({"violations": found, "passed": passed}))

"""Markdown of creators: what it becomes, and what it cannot become."""

import re

import pytest

from ml_trainer_env.arena.pages.markdown import render


def test_it_is_commonmark() -> None:
    assert render("It *is*, see [there](/competitions/1):\n\n1. `one`\n") == (
        '<p>It <em>is</em>, see <a href="/competitions/1">there</a>:</p>\n<ol>\n<li><code>one</code></li>\n</ol>\n'
    )


def test_headings_stand_below_that_of_the_page() -> None:
    found = render("".join(f"{'#' * level} {level}\n" for level in range(1, 7)))

    assert re.findall(r"<(h\d)>", found) == ["h2", "h3", "h4", "h5", "h6", "h6"]


def test_a_table_is_a_region_that_scrolls_with_headers_that_say_of_what() -> None:
    found = render("| a | b |\n|---|--:|\n| 1 | 2 |\n")

    assert found.startswith('<div class="wide" tabindex="0" role="region" aria-label="Table">\n<table>')
    assert '<th scope="col">a</th>\n<th class="right" scope="col">b</th>' in found
    assert '<td class="right">2</td>' in found
    assert found.endswith("</table>\n</div>\n")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <b onclick='alert(1)'>word</b>",
        "<iframe src='/'></iframe>\n",
        "[x](javascript:alert(1))",
        "[x](JAVASCRIPT:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](vbscript:alert(1))",
        "[x](data:text/html,alert)",
        "<javascript:alert(1)>",
        "[x][y]\n\n[y]: javascript:alert(1)",
        "![x](javascript:alert(1))",
        "| a |\n|:-:|\n| <script> |\n",
        '```js" onclick="alert(1)\nx\n```\n',
    ],
)
def test_it_cannot_become_script_style_or_markup_of_its_own(text: str) -> None:
    found = render(text)

    assert re.findall(r"<(?!/?(?:p|a|div|table|thead|tbody|tr|th|td|pre|code)\b)", found) == []
    assert re.findall(r"<[^>]*(?:javascript|vbscript|data:|style=|\son\w+=)", found, re.IGNORECASE) == []


def test_pictures_from_elsewhere_are_links() -> None:
    found = render("![a cat](https://example.org/cat.png)")

    assert found == '<p>!<a href="https://example.org/cat.png">a cat</a></p>\n'

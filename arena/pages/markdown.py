"""Renders creators' Markdown as part of a page. Raw HTML, scripts, styles and images are disabled."""

from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["render"]

_PARSER = MarkdownIt("js-default").disable("image")
"""CommonMark with tables, without raw HTML. Script links are disabled."""

_REGION: dict[str, str | int | float] = {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Table"}


@lru_cache(maxsize=64)
def render(text: str) -> str:
    """Render Markdown as HTML, for a page that has its own top-level heading.

    Headings are moved down one level. Tables scroll in their own region. They are aligned with classes, because the
    Content-Security-Policy of the pages forbids inline styles.
    """
    tokens = [fitted for token in _PARSER.parse(text) for fitted in _adapt_token(token)]
    return str(_PARSER.renderer.render(tokens, _PARSER.options, {}))


def _adapt_token(token: Token) -> list[Token]:
    match token.type:
        case "heading_open" | "heading_close":
            token.tag = f"h{min(int(token.tag[1:]) + 1, 6)}"
        case "th_open" | "td_open":
            if style := token.attrs.pop("style", None):
                token.attrs["class"] = str(style).removeprefix("text-align:")
            if token.type == "th_open":
                token.attrs["scope"] = "col"
        case "table_open":
            return [Token("region_open", "div", 1, attrs=dict(_REGION), block=True), token]
        case "table_close":
            return [token, Token("region_close", "div", -1, block=True)]
    return [token]

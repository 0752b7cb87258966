"""Markdown of creators as a part of a page: nothing in it is markup, script, style, or a picture from elsewhere."""

from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["render"]

_PARSER = MarkdownIt("js-default").disable("image")
"""CommonMark and tables, without HTML; links lead to nothing that runs."""

_REGION: dict[str, str | int | float] = {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Table"}


@lru_cache(maxsize=64)
def render(text: str) -> str:
    """Markdown as HTML, for a page that has a heading of its own.

    Headings are one level lower. Tables scroll within a region of their own, and are aligned by classes, as the pages'
    Content-Security-Policy allows no inline style.
    """
    tokens = [fitted for token in _PARSER.parse(text) for fitted in _fitted(token)]
    return str(_PARSER.renderer.render(tokens, _PARSER.options, {}))


def _fitted(token: Token) -> list[Token]:
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

"""What all pages share: templates, headers, and that forms come from this site."""

import hashlib
import time
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ml_trainer_env.arena.errors import ForbiddenError
from ml_trainer_env.arena.pages import markdown
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tokens.service import Caller

__all__ = ["HEADERS", "cacheable_part", "not_modified_or", "render_page", "require_same_site"]

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def _format_time(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


_TEMPLATES = Environment(
    loader=PackageLoader("ml_trainer_env.arena.pages"), autoescape=select_autoescape(), undefined=StrictUndefined
)
_TEMPLATES.filters["moment"] = _format_time
_TEMPLATES.filters["markdown"] = markdown.render


def render_page(template: str, caller: Caller | None, status_code: int = 200, **values: Any) -> HTMLResponse:
    """Render a template."""
    text = _TEMPLATES.get_template(template).render(caller=caller, **values)
    return HTMLResponse(text, status_code, HEADERS)


def require_same_site(request: Request, services: Services) -> None:
    """Refuse a form that was sent from another site. Behind a proxy, this site's origin is `base_url`.

    Raises:
        ForbiddenError: It was.
    """
    own = {f"{request.url.scheme}://{request.headers.get('host')}", services.settings.base_url}
    if request.headers.get("origin") not in {None, *own} or (
        request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    ):
        raise ForbiddenError("forms of other sites are not taken")


def cacheable_part(request: Request, response: HTMLResponse) -> Response:
    """Add an ETag to a fragment that the page polls, since it rarely changes."""
    return not_modified_or(request, response, hashlib.sha256(response.body).hexdigest())


def not_modified_or(request: Request, response: Response, tag: str) -> Response:
    """Return the response, or 304 if the browser already has it."""
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{tag}"'}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={**HEADERS, **headers})
    response.headers.update(headers)
    return response

"""The runbooks as web pages, served by the service itself: an alert's link works without another system."""

from html import escape
from importlib.resources import files
from typing import Final

from aiohttp import web
from markdown_it import MarkdownIt

_FOLDER: Final = files("consumer.ops") / "runbooks"
_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
pre { padding: .8rem; overflow-x: auto; border: 1px solid; border-radius: .3rem }
table { border-collapse: collapse } td, th { border: 1px solid; padding: .3rem .6rem; text-align: left }
"""


def names() -> list[str]:
    """The alerts that have a runbook."""
    return sorted(entry.name.removesuffix(".md") for entry in _FOLDER.iterdir() if entry.name.endswith(".md"))


def runbook(name: str) -> str | None:
    """The runbook of an alert, in Markdown; ``None`` if there is none of this name."""
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8") if name in names() else None


def add_pages(app: web.Application) -> None:
    """Serve ``/runbooks/``, a list, and ``/runbooks/{name}``."""
    app.router.add_get("/runbooks", _list)
    app.router.add_get("/runbooks/", _list)
    app.router.add_get("/runbooks/{name}", _page)


async def _list(_request: web.Request) -> web.Response:
    links = "".join(f'<li><a href="/runbooks/{name}">{name}</a>' for name in names())
    return _html("Runbooks", f"<h1>Runbooks</h1><ul>{links}</ul>")


async def _page(request: web.Request) -> web.Response:
    name = request.match_info["name"].removesuffix(".md")  # as the pages link to each other in the repository
    text = runbook(name)
    if text is None:
        return _html("No such runbook", f"<h1>No runbook named {escape(name)}</h1>", status=404)
    return _html(name, MarkdownIt("commonmark").enable("table").render(text))


def _html(title: str, body: str, *, status: int = 200) -> web.Response:
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{body}</html>\n"
    )
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return web.Response(text=page, content_type="text/html", status=status, headers=headers)

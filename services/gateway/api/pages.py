"""Pages for people: the front page, and the OpenAPI document to read. Self-contained, without any script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
summary code { background: none; }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: var(--soft); border-radius: .2rem; padding: .1rem .3rem; }
pre { overflow-x: auto; padding: .6rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
"""

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy of every page here: nothing is loaded, and only this style applies."""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


HOME = _page(
    "PayFlow",
    "<h1>PayFlow</h1><p>Wallets and transfers over HTTP.</p>"
    '<ul><li><a href="/api/v1/docs">How to talk to it</a></li>'
    '<li><a href="/api/v1/openapi.json">The same for machines (OpenAPI 3.1)</a></li></ul>',
)


def render_docs(document: Mapping[str, Any]) -> str:
    """The OpenAPI document as a page."""
    by_tag: dict[str, list[str]] = {}
    shared = document["components"]["responses"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, shared))
    body = [f"<h1>{escape(document['info']['title'])}</h1><p>{escape(document['info']['description'])}</p>"]
    for tag, operations in by_tag.items():
        body.append(f"<h2>{escape(tag)}</h2>{''.join(operations)}")
    body.append(f"<h2>Problems</h2>{_problems(document['x-problem-catalogue'])}")
    body.append(f"<h2>Schemas</h2>{''.join(_schema(*item) for item in document['components']['schemas'].items())}")
    return _page(f"{document['info']['title']} API", "".join(body))


def _operation(method: str, path: str, operation: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(operation['description'])}</p>" if "description" in operation else ""]
    if operation["parameters"]:
        parts.append(_table(("parameter", "in", "needed", ""), map(_parameter, operation["parameters"])))
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_content(operation['requestBody'])}</p>")
    responses = {
        status: shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        for status, response in operation["responses"].items()
    }
    answers = (
        (escape(status), _lines(response["description"]), _content(response)) for status, response in responses.items()
    )
    parts.append(_table(("status", "", "body"), answers))
    summary = f"<code><b>{method.upper()}</b> {escape(path)}</code> {escape(operation['summary'])}"
    return f"<details><summary>{summary}</summary>{''.join(parts)}</details>"


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, ...]:
    if "$ref" in parameter:
        return f"<code>{escape(parameter['$ref'].rpartition('/')[2])}</code>", "header", "", ""
    needed = "yes" if parameter["required"] else ""
    about = escape(parameter.get("description", "")) or f"<code>{escape(json.dumps(parameter['schema']))}</code>"
    return f"<code>{escape(parameter['name'])}</code>", parameter["in"], needed, about


def _problems(catalogue: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        (
            f"<code>{escape(entry['code'])}</code>",
            str(entry["status"]),
            escape(entry["title"]),
            "yes" if entry["retry_helps"] else "",
        )
        for entry in catalogue
    )
    return _table(("code", "status", "meaning", "retry helps"), rows)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>'


def _content(holder: Mapping[str, Any]) -> str:
    return " or ".join(
        f"{_reference(content['schema'])} <code>{escape(media_type)}</code>"
        for media_type, content in holder.get("content", {}).items()
    )


def _reference(schema: Mapping[str, Any]) -> str:
    pointer = schema.get("$ref") or next((each["$ref"] for each in schema.get("allOf", ()) if "$ref" in each), "")
    name = escape(pointer.rpartition("/")[2])
    return f'<a href="#{name}">{name}</a>' if name else ""


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.splitlines())


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"

"""The OpenAPI document as a page to read: groups of operations, each with its parameters, an example and its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from services.gateway.api.pages import frame

_CODE = re.compile(r"`([^`]+)`")
_NOT_AN_ANCHOR = re.compile(r"[^a-z0-9]+")

Document = Mapping[str, Any]
Operations = list[tuple[str, str, Document]]
"""Method, path and content of each operation."""


def render(document: Document) -> str:
    """The whole page."""
    groups = {tag["name"]: (tag["description"], list(_operations(document, tag["name"]))) for tag in document["tags"]}
    title = f"{document['info']['title']} API"
    body = "".join(
        (
            f"<h1>{escape(title)}</h1>{_paragraphs(document['info']['description'])}",
            *(_group(name, about, operations, document) for name, (about, operations) in groups.items()),
            f'<h2 id="problems">Errors</h2>{_problems(document["x-problem-catalogue"])}',
            f'<h2 id="schemas">Schemas</h2>{"".join(_schema(*item) for item in document["components"]["schemas"].items())}',
        )
    )
    return frame(title, f'<div class="page columns"><nav>{_menu(groups)}</nav><main>{body}</main></div>')


def _operations(document: Document, tag: str) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] == [tag]:
                yield method, path, operation


def _menu(groups: Mapping[str, tuple[str, Operations]]) -> str:
    entries = []
    for name, (_, operations) in groups.items():
        links = (
            f'<li><a href="#{escape(operation["operationId"])}">{_inline(operation["summary"].rstrip("."))}</a></li>'
            for _, _, operation in operations
        )
        entries.append(f'<li><a href="#{_anchor(name)}">{escape(name)}</a><ul>{"".join(links)}</ul></li>')
    more = '<li><a href="#problems">Errors</a></li><li><a href="#schemas">Schemas</a></li>'
    return f"<ul>{''.join(entries)}{more}</ul>"


def _group(name: str, about: str, operations: Operations, document: Document) -> str:
    shown = "".join(_operation(*operation, document) for operation in operations)
    return f'<h2 id="{_anchor(name)}">{escape(name)}</h2><p class="soft">{_inline(about)}</p>{shown}'


def _operation(method: str, path: str, operation: Document, document: Document) -> str:
    identifier = escape(operation["operationId"])
    parts = [
        f'<h3><span class="method {method}">{method.upper()}</span><code>{escape(path)}</code>{_link(identifier)}</h3>',
        f"<p><b>{_inline(operation['summary'])}</b></p>",
        f"<p>{_inline(operation['description'])}</p>" if "description" in operation else "",
        f'<p class="soft">{_caller(operation)}</p>',
        _parameters(operation, document),
        f'<div class="examples">{_request(method, path, operation, document)}{_response(operation)}</div>',
        _outcomes(operation, document),
    ]
    return f'<section class="operation" id="{identifier}">{"".join(parts)}</section>'


def _link(identifier: str) -> str:
    return f'<a href="#{identifier}" aria-label="Link to this operation">#</a>'


def _caller(operation: Document) -> str:
    if not operation["security"]:
        return "No authentication."
    scopes = [scope for scheme in operation["security"] for scope in scheme.get("api_key", ())]
    role = " of an operator" if operation["operationId"].startswith("ops_") else ""
    keys = f", or an API key with the scope <code>{escape(scopes[0])}</code>" if scopes else ""
    return f"Access token{role}{keys}."


def _parameters(operation: Document, document: Document) -> str:
    shared = document["components"]["parameters"]
    rows = []
    for given in operation["parameters"]:
        parameter = shared[given["$ref"].rpartition("/")[2]] if "$ref" in given else given
        where = f"{parameter['in']}, required" if parameter["required"] else parameter["in"]
        about = _inline(parameter.get("description", "")) or _type(parameter["schema"])
        rows.append((f"<code>{escape(parameter['name'])}</code>", where, about))
    return f"<h4>Parameters</h4>{_table(('name', 'in', 'meaning'), rows)}" if rows else ""


def _type(schema: Document) -> str:
    if "enum" in schema:
        return " · ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    words = {"uuid": "UUID", "date-time": "time, RFC 3339", "email": "e-mail address"}
    return escape(str(words.get(schema.get("format", ""), schema.get("type", ""))))


def _request(method: str, path: str, operation: Document, document: Document) -> str:
    lines = [f"{method.upper()} {path}"]
    if operation["security"]:
        lines.append("Authorization: Bearer $ACCESS_TOKEN")
    names = [given["$ref"].rpartition("/")[2] for given in operation["parameters"] if "$ref" in given]
    lines += [f"{name}: order-A-1001" for name in names if document["components"]["parameters"][name]["required"]]
    body = operation.get("requestBody")
    if body is not None:
        (media_type, content), *_ = body["content"].items()
        lines += [f"Content-Type: {media_type}", "", _json(content["example"])]
    return f"<div><h4>Example request</h4>{_block(lines)}</div>"


def _response(operation: Document) -> str:
    # The last success is the usual one where several are possible: accepted, created.
    status = max(status for status in operation["responses"] if status.startswith("2"))
    response = operation["responses"][status]
    lines = [f"{status} {HTTPStatus(int(status)).phrase}"]
    for media_type, content in response.get("content", {}).items():
        lines += [f"Content-Type: {media_type}", "", *_example(content)]
        break
    return f"<div><h4>Example response</h4>{_block(lines)}</div>"


def _example(content: Document) -> list[str]:
    if "x-events" in content:
        return [line for name in list(content["x-events"])[:1] for line in ("id: 12", f"event: {name}", "data: {…}")]
    return [_json(content["example"])] if "example" in content else ["…"]


def _outcomes(operation: Document, document: Document) -> str:
    successes, refusals = [], []
    for status, given in operation["responses"].items():
        if "$ref" in given:
            response = document["components"]["responses"][given["$ref"].rpartition("/")[2]]
            for line in response["description"].splitlines():
                code, _, title = line.removeprefix("- ").partition(": ")
                refusals.append((status, _inline(code), _inline(title)))
        else:
            successes.append((status, _inline(given["description"]), _content(given)))
    codes = " ".join(code for _, code, _ in refusals)
    errors = (
        f"<details><summary>Error codes ({len(refusals)})</summary>{_table(('status', 'code', 'meaning'), refusals)}</details>"
        if codes
        else ""
    )
    return f"<h4>Responses</h4>{_table(('status', 'meaning', 'body'), successes)}{errors}"


def _problems(catalogue: Iterable[Document]) -> str:
    rows = (
        (
            f"<code>{escape(entry['code'])}</code>",
            str(entry["status"]),
            _inline(entry["title"]),
            _yes(entry["retry_helps"]),
        )
        for entry in catalogue
    )
    return _table(("code", "status", "meaning", "a retry helps"), rows)


def _schema(name: str, schema: Document) -> str:
    summary = f"<summary><code>{escape(name)}</code></summary>"
    return f'<details id="schema-{escape(name)}">{summary}{_block([_json(schema)])}</details>'


def _content(response: Document) -> str:
    return ", ".join(
        f"{_reference(content['schema'])} <code>{escape(media_type)}</code>".strip()
        for media_type, content in response.get("content", {}).items()
    )


def _reference(schema: Document) -> str:
    name = escape(schema.get("$ref", "").rpartition("/")[2])
    return f'<a href="#schema-{name}">{name}</a>' if name else ""


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(line)}</p>" for line in text.strip().splitlines())


def _inline(text: str) -> str:
    """Text with `code` marked up; everything else is escaped."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _block(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _yes(given: object) -> str:
    return "yes" if given else ""


def _anchor(name: str) -> str:
    return _NOT_AN_ANCHOR.sub("-", name.lower())

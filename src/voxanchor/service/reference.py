"""A page that lists the routes. FastAPI's own pages load scripts from elsewhere, which this service does not."""

from collections.abc import Iterator
from html import escape
from typing import Any

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>voxanchor: reference</title><link rel="icon" href="/page/icon.svg"><link rel="stylesheet" href="/page/style.css">
</head><body><main class="reference"><h1>voxanchor: reference</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. The page to try it: <a href="/">/</a>.</p>
"""


def reference(document: dict[str, Any]) -> str:
    """Return the HTML of an OpenAPI document: every route with what it takes and what it answers."""
    schemas: dict[str, Any] = document.get("components", {}).get("schemas", {})
    parts = [_HEAD]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts += _route(method.upper(), path, route, schemas)
    parts.append("<h2>Answers</h2>")
    for name, schema in schemas.items():
        if "properties" in schema and not name.startswith("Body_"):
            parts.append(f'<section><h3 id="{escape(name)}">{escape(name)}</h3>')
            parts.append(f"<p>{escape(schema.get('description', ''))}</p>{_table(schema)}</section>")
    return "".join([*parts, "</main></body></html>"])


def _route(method: str, path: str, route: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{method} {escape(path)}</code></h2><p>{escape(route.get('summary', ''))}.</p>"
    parameters = {item["name"]: {**item["schema"], **item} for item in route.get("parameters", ())}
    if parameters:
        needed = [item["name"] for item in route["parameters"] if item.get("required")]
        yield _table({"properties": parameters, "required": needed})
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code></p>"
        yield _table(schemas[content["schema"]["$ref"].rpartition("/")[2]])
    answers: dict[str, list[str]] = {}
    for status, response in route["responses"].items():
        what = next((_type(content.get("schema", {})) for content in response.get("content", {}).values()), "text")
        answers.setdefault(what, []).append(escape(status))
    told = "; ".join(f"{what}: {', '.join(statuses)}" for what, statuses in answers.items())
    yield f"<p>Answers: {told}</p></section>"


def _table(schema: dict[str, Any]) -> str:
    rows = []
    for name, item in schema["properties"].items():
        needed = "required" if name in schema.get("required", ()) else f"default {item.get('default')}"
        cells = (f"<code>{escape(name)}</code>", _type(item), needed, escape(item.get("description", "")))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(item) for item in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return "file"
    return escape(str(schema.get("type", "text")))

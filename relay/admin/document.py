"""The OpenAPI 3.1 document, made of the table of routes and the types that it names."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

import relay
from relay.admin.reading import MOST_PART
from relay.admin.routing import CSV, LINES, PUBLIC, Call, NoQuery, Out, Route, camel

BASE = "/admin/api/v1"
_REF = "#/components/schemas/{name}"
# What may come instead of the answer, on any path; every one is an Error.
_ERRORS = {
    400: "Something that was sent is wrong; `field` names it.",
    401: "No admin token, or one that is not good.",
    403: "Not for this role, or not from here.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "It cannot be done as things are.",
    412: "It was changed since the version that was sent as If-Match.",
    413: "The body is too large.",
    429: "Too many wrong tokens came from this address.",
    503: "Redis is away; nothing was changed.",
    529: "The relay holds as many bodies as it may.",
}
_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `version` that is to be changed: another one is answered with 412.",
    "schema": {"type": "string"},
}


class ErrorDetail(Out, omit_defaults=True):
    """What went wrong: a word for programs, a sentence for people, and where that is known the
    field, with dots between its steps."""

    type: str
    message: str
    field: str = ""


class Error(Out):
    """What every answer from 400 on has."""

    type: str
    error: ErrorDetail
    request_id: str = msgspec.field(name="request_id")


class Document(Out):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, Any]
    servers: list[dict[str, str]]
    tags: list[dict[str, str]]
    security: list[dict[str, list[str]]]
    paths: dict[str, dict[str, Any]]
    components: dict[str, Any]


async def openapi(call: Call) -> msgspec.Raw:
    return msgspec.Raw(call.shared.document)


def described(routes: Sequence[Route]) -> Document:
    """The document of these routes."""
    found = [one.answer for one in routes if _is_json(one)]
    found += [one.body for one in routes if one.body] + [one.query for one in routes]
    types = list(dict.fromkeys([Error, *found]))
    refs, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    ref_of = dict(zip(types, refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, ref_of, schemas)
    queries = {ref_of[one.query]["$ref"].rpartition("/")[2] for one in routes}
    return Document(
        openapi="3.1.0",
        info={
            "title": "Relay's admin API",
            "version": relay.__version__,
            "description": "What the command line and the console do, for programs."
            " Money is integer micro-dollars unless it says otherwise; times are UTC.",
        },
        servers=[{"url": BASE}],
        tags=[{"name": name} for name in dict.fromkeys(one.part for one in routes)],
        security=[{"token": []}],
        paths=paths,
        components={
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                str(status): {
                    "description": text,
                    "content": {"application/json": {"schema": ref_of[Error]}},
                }
                for status, text in _ERRORS.items()
            },
            "schemas": {name: one for name, one in schemas.items() if name not in queries},
        },
    )


def _is_json(route: Route) -> bool:
    return route.answer not in (None, CSV, LINES)


def _operation(route: Route, ref_of: dict[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": camel(f"{route.do.__module__.rpartition('.')[2]}_{route.do.__name__}"),
        "summary": route.summary,
        "description": f"Needs the role {route.role}."
        if route.role != PUBLIC
        else "Needs no token.",
        "tags": [route.part],
        "parameters": _parameters(route, schemas[ref_of[route.query]["$ref"].rpartition("/")[2]]),
        "responses": _responses(route, ref_of),
    }
    if route.role == PUBLIC:
        told["security"] = []
    if route.body is not None:
        told["requestBody"] = {
            "required": bool(schemas[route.body.__name__].get("required")),
            "content": {"application/json": {"schema": ref_of[route.body]}},
        }
    return told


def _parameters(route: Route, query: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string", "minLength": 1, "maxLength": MOST_PART}
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not NoQuery:
        found += [
            {"name": name, "in": "query", "required": False, "schema": _asked(schema)}
            for name, schema in query["properties"].items()
        ]
    return [*found, _MATCH] if route.has_version else found


def _asked(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a word in a query, which is left out rather than empty."""
    return {name: value for name, value in schema.items() if name != "default" or value}


def _responses(route: Route, ref_of: dict[Any, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": "Done."}
    if route.answer in (CSV, LINES):
        told["content"] = {route.answer: {"schema": {"type": "string"}}}
    elif route.answer is not None:
        told["content"] = {"application/json": {"schema": ref_of[route.answer]}}
    others = {str(status): {"$ref": f"#/components/responses/{status}"} for status in _ERRORS}
    return {str(route.status): told, **others}

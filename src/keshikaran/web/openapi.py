"""The OpenAPI description, made of the same constants and types as the answers."""

from __future__ import annotations

import dataclasses
import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from keshikaran.types import Prediction
from keshikaran.version import __version__
from keshikaran.web.problems import KINDS, MEDIA_TYPE
from keshikaran.web.settings import ServerSettings

Json = dict[str, Any]

_PLAIN: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_ANY_REQUEST = (
    *("bad_request", "request_timeout", "too_many_connections", "headers_too_large"),
    *("wrong_host", "internal", "server_full"),
)
_BODY = ("too_large", "length_required", "memory_full")
_PREDICT = ("unauthorized", "unsupported_media_type", "bad_multipart", *_BODY, "queue_full")
_RELOAD = ("unauthorized", "forbidden", "bad_json", *_BODY, "reload_running", "model_refused")


def document(settings: ServerSettings) -> Json:
    """The description of a server with these settings."""
    needs_token: list[Json] = [{"token": []}] if settings.token_file else []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "keshikaran",
            "version": __version__,
            "description": "Image files in, scores and verdicts out. No address is ever fetched.",
        },
        "paths": {
            "/v1/predict": {"post": _predict(settings, needs_token)},
            "/v1/model": {
                "get": _get(
                    "What the model says about itself", "Manifest", "unauthorized", needs_token
                ),
                "post": _load_model(),
            },
            "/livez": {"get": _get("Whether the process lives", "Status")},
            "/readyz": {"get": _ready()},
            "/metrics": {"get": _text("Figures for Prometheus", "text/plain", "unauthorized")},
            "/openapi.json": {"get": _get("This description", "Description")},
            "/docs": {"get": _text("This description as a page", "text/html")},
        },
        "components": {
            "schemas": _schemas(settings),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "adminToken": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _predict(settings: ServerSettings, security: list[Json]) -> Json:
    image = {"schema": {"type": "string", "format": "binary"}}
    either = {"oneOf": [_ref("Prediction"), _ref("Predictions")]}
    operation = _operation(
        "Judge one image file, or several",
        {"200": _answer("A prediction; for multipart a list of them, in order.", either)},
        _PREDICT,
        security,
    )
    undecided = {"allOf": [_ref("Problem"), {"required": ["prediction"]}]}
    operation["responses"]["422"] = {
        "description": f"`undecided`: {KINDS['undecided'].title} (One image file only.)",
        "headers": _request_id(),
        "content": {MEDIA_TYPE: {"schema": undecided}},
    }
    operation["description"] = (
        "The format of a file is decided by its first bytes, not by its Content-Type. With"
        " multipart, each part is a file and gets its own outcome; an image that cannot be judged"
        " has the verdict `undecided` there and a `reason`."
    )
    operation["parameters"] = [
        {
            "name": "Content-Disposition",
            "in": "header",
            "description": 'attachment; filename="NAME" names a single file in the answer.',
            "schema": {"type": "string"},
        }
    ]
    operation["requestBody"] = {
        "required": True,
        "description": (
            f"At most {settings.max_body_bytes:,} bytes a file, and for multipart"
            f" {settings.max_parts} files and {settings.max_request_bytes:,} bytes in all."
        ),
        "content": {
            "application/octet-stream": image,
            "image/*": image,
            "multipart/form-data": {"schema": _ref("Files")},
        },
    }
    return operation


def _load_model() -> Json:
    loaded = _object({"model_id": {"type": "string"}})
    operation = _operation(
        "Load the model file again, or another one of its folder",
        {"200": _answer("It answers from now on.", loaded)},
        _RELOAD,
        [{"adminToken": []}],
    )
    name = {"type": "string", "minLength": 1, "description": "a file name without a folder"}
    schema = {"type": "object", "properties": {"file": name}, "additionalProperties": False}
    operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _ready() -> Json:
    operation = _get("Whether requests are taken", "Status")
    operation["responses"]["503"] = {
        "description": "The server is stopping (a Status), or full (a Problem).",
        "headers": _request_id(),
        "content": {
            "application/json": {"schema": _ref("Status")},
            MEDIA_TYPE: {"schema": _ref("Problem")},
        },
    }
    return operation


def _get(summary: str, schema: str, code: str = "", security: list[Json] | None = None) -> Json:
    answer = {"200": _answer("So it is.", _ref(schema))}
    return _operation(summary, answer, (code,) if code else (), security or [])


def _text(summary: str, media_type: str, code: str = "") -> Json:
    content = {media_type: {"schema": {"type": "string"}}}
    answer = {"200": {"description": "Text.", "headers": _request_id(), "content": content}}
    return _operation(summary, answer, (code,) if code else (), [])


def _operation(summary: str, answers: Json, codes: tuple[str, ...], security: list[Json]) -> Json:
    return {
        "summary": summary,
        "security": security,
        "responses": {**answers, **_problems((*codes, *_ANY_REQUEST))},
    }


def _problems(codes: tuple[str, ...]) -> Json:
    """Answers with a problem, by status; codes with the same status share one."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {KINDS[code].title}" for code in same),
            "headers": _headers(same),
            "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
        }
        for status, same in sorted(by_status.items())
    }


def _headers(codes: list[str]) -> Json:
    headers = _request_id() if codes[0] not in _ANY_REQUEST else {}
    if all(KINDS[code].retry_after_s is not None for code in codes):
        seconds = {"description": "seconds", "schema": {"type": "integer"}}
        headers["Retry-After"] = {**seconds, "required": True}
    return headers


def _request_id() -> Json:
    what = "as in the log; the request's own header of this name, if it is a plain one"
    return {"X-Request-Id": {"description": what, "schema": {"type": "string"}}}


def _answer(description: str, schema: Json) -> Json:
    content = {"application/json": {"schema": schema}}
    return {"description": description, "headers": _request_id(), "content": content}


def _schemas(settings: ServerSettings) -> Json:
    text = {"type": "string"}
    file = {"type": "string", "format": "binary"}
    problem = _object(
        {
            "status": {"type": "integer"},
            "code": {"enum": sorted(KINDS)},
            "title": text,
            "detail": text,
            "hint": text,
            "request_id": {"type": ["string", "null"]},
        }
    )
    problem["properties"]["prediction"] = _ref("Prediction")
    many = {"type": "array", "items": _ref("Prediction"), "minItems": 1}
    return {
        "Prediction": _prediction(),
        "Predictions": _object({"predictions": {**many, "maxItems": settings.max_parts}}),
        "Files": {
            **_object({"file": {"type": "array", "items": file, "minItems": 1}}),
            "description": "Each part is a file, with a filename. Its name does not matter.",
            "additionalProperties": False,
        },
        "Problem": problem,
        "Manifest": {"type": "object", "required": ["model_id", "thresholds", "policy"]},
        "Status": {"type": "object", "properties": {"status": text}, "required": ["status"]},
        "Description": {"type": "object", "required": ["openapi", "paths"]},
    }


@cache
def _prediction() -> Json:
    """`Prediction`'s fields with their types."""
    hints = get_type_hints(Prediction)
    names = [field.name for field in dataclasses.fields(Prediction)]
    return _object({name: _schema_of(hints[name]) for name in names})


def _schema_of(hint: Any) -> Json:  # noqa: ANN401
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    supertype = getattr(hint, "__supertype__", None)
    if supertype is not None:
        return _schema_of(supertype)
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) in (Union, types.UnionType):
        return {"anyOf": [_schema_of(part) for part in get_args(hint)]}
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return _object(
            {each.name: _schema_of(hints[each.name]) for each in dataclasses.fields(hint)}
        )
    return {}


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}

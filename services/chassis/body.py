"""Request bodies: strict JSON, then a pydantic model; all invalid fields are reported at once."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from aiohttp import hdrs, web
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from services.contracts.identifiers import parse_id
from services.contracts.refusal import FieldError, Refusal

DEPTH_MAX = 20
INTEGER_DIGITS_MAX = 100

Model = TypeVar("Model")
_JSON = "application/json"
_CHARSET = "utf-8"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class MalformedJson(Refusal):
    """The body is not valid JSON."""

    status = 400
    code = "malformed_json"


class UnsupportedMediaType(Refusal):
    """The body must be JSON, unencoded."""

    status = 415
    code = "unsupported_media_type"


class InvalidRequest(Refusal):
    """Some fields of the request are invalid."""

    status = 422
    code = "invalid_request"


class InvalidParameter(InvalidRequest):
    """Some fields of the request are invalid."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field and what is wrong with it."""
        super().__init__(errors=[FieldError(field, message)])


def read_id(value: Any) -> UUID:
    """An id in its canonical form.

    Raises:
        ValueError
    """
    found = parse_id(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not an id")
    return found


Id = Annotated[UUID, BeforeValidator(read_id)]
"""A field that is an id. UUID alone would also accept braces, `urn:` and missing hyphens."""


def path_id(request: web.Request, missing: type[Refusal]) -> UUID:
    """The id in the path.

    Raises:
        Refusal: `missing`, if it is not an id: the response is that for an unknown one.
    """
    found = parse_id(request.match_info["id"])
    if found is None:
        raise missing
    return found


async def read_json(request: web.Request) -> Any:
    """The body as strict JSON: UTF-8, no duplicate keys, no NaN, at most 20 levels deep.

    Raises:
        UnsupportedMediaType, MalformedJson, web.HTTPRequestEntityTooLarge
    """
    check_media_type(request)
    return parse(await request.read())


def check_media_type(request: web.Request) -> None:
    """Check that the headers announce JSON in UTF-8, unencoded; nothing of the body is read.

    Raises:
        UnsupportedMediaType
    """
    # The usual header is compared, the others are parsed.
    if request.headers.get(hdrs.CONTENT_TYPE) != _JSON:
        if request.content_type != _JSON:
            raise UnsupportedMediaType("Content-Type must be application/json")
        if (request.charset or _CHARSET).lower() != _CHARSET:
            raise UnsupportedMediaType("JSON is UTF-8")
    encodings = request.headers.getall(hdrs.CONTENT_ENCODING, ())
    if encodings and any(encoding.lower() != "identity" for encoding in encodings):
        raise UnsupportedMediaType("encoded bodies are not accepted")


def check_length(request: web.Request) -> None:
    """Check the announced size; nothing of the body is read, so a client with `Expect` need not send it.

    Raises:
        web.HTTPRequestEntityTooLarge
    """
    length, most = request.content_length or 0, request.client_max_size
    if length > most:
        raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=length)


def parse(body: bytes) -> Any:
    """Strict JSON.

    Raises:
        MalformedJson: also for anything that two parsers could read differently.
    """
    try:
        value = _decode(body)
    except (ValueError, RecursionError) as error:
        raise MalformedJson(str(error) if isinstance(error, _Ambiguous) else "the body is not JSON") from None
    # With fewer brackets nothing can be nested so deep.
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and _deeper_than(value, DEPTH_MAX):
        raise MalformedJson(f"the body is nested deeper than {DEPTH_MAX} levels")
    return value


def validate(adapter: TypeAdapter[Model], value: Any, *, may_be_unstorable: bool = True) -> Model:
    """The model of a parsed body. `may_be_unstorable`: the result of the function of this name, for its bytes.

    Raises:
        InvalidRequest: it lists all invalid fields.
    """
    if may_be_unstorable and (faults := _unstorable_texts(value, "")):
        raise InvalidRequest(errors=faults)
    try:
        model: Model = adapter.validator.validate_python(value)
    except ValidationError as error:
        raise invalid(error) from None
    return model


def may_be_unstorable(body: bytes) -> bool:
    """Whether a strict JSON body may contain a character that cannot be stored: only an escape can denote one."""
    return b"\\" in body


def validate_json(adapter: TypeAdapter[Model], body: bytes) -> Model:
    """As `validate`, directly from bytes, for requests of our own services.

    Raises:
        InvalidRequest: it lists all invalid fields.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidRequest:
    """The errors of pydantic as a refusal."""
    return InvalidRequest(
        errors=[
            FieldError(
                ".".join(str(part) for part in fault["loc"]) or "body",
                _MESSAGES.get(fault["type"]) or fault["msg"].removeprefix("Value error, "),
            )
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    )


_MESSAGES = dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be an object")
"""Instead of the messages of pydantic that mention Python."""


class _Ambiguous(ValueError):  # noqa: N818 - reads as what it is
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Ambiguous("a key occurs twice in one object")
    return members


def _refuse(constant: str) -> Any:
    raise _Ambiguous(f"{constant} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise _Ambiguous("a number has too many digits")
    return int(digits)


# Built once: `json.loads` with any option builds a decoder for every call.
_decode_strictly = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse, parse_int=_integer).decode


def _decode(body: bytes) -> Any:
    try:
        value = orjson.loads(body)
        # Bytes that are exactly those of the value have one reading. Of two equal keys, for instance, one would be missing.
        if orjson.dumps(value) == body:
            return value
    except (ValueError, TypeError):
        pass
    return _decode_strictly(body.decode())


def _deeper_than(value: Any, levels: int) -> bool:
    # Objects and arrays are levels, also empty ones; the values in the innermost are not.
    layer = [value]
    for _ in range(levels):
        layer = [child for node in layer for child in _children(node)]
        if not layer:
            return False
    return True


def _children(node: Any) -> list[Any]:
    members = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [member for member in members if isinstance(member, dict | list)]


def _unstorable_texts(value: Any, path: str) -> list[FieldError]:
    # PostgreSQL cannot store NUL, and half of a surrogate pair is no character: refuse them here, with the name of the field.
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            return [FieldError(path or "body", "contains a character that is not allowed")]
        return []
    if isinstance(value, dict):
        faults = [fault for name in value for fault in _unstorable_texts(name, f"{path}.(key)".lstrip("."))]
        return faults + [
            fault
            for name, child in value.items()
            # The response names the field, and must itself be valid text.
            for fault in _unstorable_texts(child, f"{path}.{_UNSTORABLE.sub(_REPLACEMENT, name)}".lstrip("."))
        ]
    if isinstance(value, list):
        return [f for index, child in enumerate(value) for f in _unstorable_texts(child, f"{path}.{index}".lstrip("."))]
    return []

"""One JSON schema in the part of JSON Schema that Claude's structured outputs take."""

from typing import Any

import msgspec

from relay.dialects.openai.drafts import TYPES
from relay.dialects.openai.fields import Json

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_DEFINITIONS = ("$defs", "definitions")
_CHOICES = ("anyOf", "oneOf", "allOf")
# Says nothing of values, or is said otherwise.
_SILENT = frozenset({
    "$schema", "$id", "$anchor", "$comment", "$vocabulary", "id", "nullable", "deprecated",
    "additionalProperties", "patternProperties", "additionalItems", "type", "strict",
})  # fmt: skip


class Unfit(Exception):
    """A schema that cannot be compiled."""


class Fitting:
    """Fits one schema; where it refers to itself is seen at the end."""

    def __init__(self, root: Json) -> None:
        self._root = _resolved(root, root)
        # The definitions that each definition refers to; "" is the schema itself.
        self._references: dict[str, set[str]] = {}
        self._within = ""

    def fitted(self) -> Json:
        """The schema as Claude takes it. Raises Unfit."""
        done = self._fit({k: v for k, v in self._root.items() if k not in _DEFINITIONS})
        for name in _DEFINITIONS:
            found = self._root.get(name)
            if not isinstance(found, dict) or not found:
                continue
            done[name] = {}
            for key, schema in found.items():
                self._within = f"#/{name}/{key}"
                done[name][key] = self._fit(schema)
        self._check_references()
        return done

    def _check_references(self) -> None:
        """Raises Unfit where a definition leads back to itself."""
        left = dict(self._references)
        while ends := [one for one, leads_to in left.items() if not leads_to & left.keys()]:
            for one in ends:
                del left[one]
        if left:
            raise Unfit

    def _fit(self, schema: Any) -> Json:
        if not isinstance(schema, dict):
            raise Unfit
        schema = _alone(schema)
        left = {name: value for name, value in schema.items() if name not in _DEFINITIONS}
        done = self._core(left)
        for name, kind in (("title", str), ("description", str)):
            if isinstance(value := left.pop(name, None), kind):
                done[name] = value
        if "default" in left:
            done["default"] = left.pop("default")
        said = {name: value for name, value in left.items() if name not in _SILENT}
        done = _saying(done, said)
        if "$ref" in done and len(done) > 1:
            # Nothing may stand beside a reference.
            done = {"anyOf": [{"$ref": done.pop("$ref")}], **done}
        return done

    def _core(self, left: Json) -> Json:
        """What a value may be; takes the keywords that say so out of `left`."""
        if left.get("allOf"):
            merged = flat(left, self._root)
            left.clear()
            left.update(merged)
        if "allOf" in left:
            raise Unfit
        if "$ref" in left:
            return {"$ref": self._reference(left.pop("$ref"))}
        if not left.keys() & {"properties", "items", "prefixItems", "enum", "const"}:
            choices = next((name for name in ("anyOf", "oneOf") if left.get(name)), None)
            if choices and (fitted := self._choices(left, choices)) is not None:
                del left[choices]
                return {"anyOf": fitted}
        return self._value(left)

    def _value(self, left: Json) -> Json:
        """A value of some types, or one of a few values."""
        kinds = _kinds(left)
        done: Json = {}
        if kinds:
            done["type"] = kinds[0] if len(kinds) == 1 else kinds
        if _are_plain(left.get("enum")):
            done["enum"] = left.pop("enum")
        if "const" in left and _are_plain([left["const"]]):
            done["const"] = left.pop("const")
        if not done:
            raise Unfit
        if "object" in kinds:
            done |= self._object(left)
        if "array" in kinds:
            done |= self._array(left)
        if "string" in kinds and left.get("format") in _FORMATS:
            done["format"] = left.pop("format")
        return done

    def _reference(self, target: Any) -> str:
        name, _, key = str(target).removeprefix("#/").partition("/")
        known = self._root.get(name) if name in _DEFINITIONS else None
        if not isinstance(target, str) or not isinstance(known, dict) or key not in known:
            raise Unfit
        self._references.setdefault(self._within, set()).add(target)
        self._references.setdefault(target, set())
        return target

    def _choices(self, left: Json, name: str) -> list[Json] | None:
        """Alternatives as Claude takes them; None where the type beside them says more."""
        choices = left[name]
        if not isinstance(choices, list):
            raise Unfit
        try:
            return [self._fit(choice) for choice in choices]
        except Unfit:
            if "type" in left and not any(_has_type(choice) for choice in choices):
                return None
            raise

    def _object(self, left: Json) -> Json:
        named = left.pop("properties", None)
        others = left.get("additionalProperties")
        if not isinstance(named, dict) or left.get("patternProperties"):
            raise Unfit
        if isinstance(others, dict) or (others and not named):
            raise Unfit
        done: Json = {
            "properties": {name: self._fit(schema) for name, schema in named.items()},
            "additionalProperties": False,
        }
        required = left.pop("required", None)
        if isinstance(required, list):
            done["required"] = [name for name in named if name in required]
        return done

    def _array(self, left: Json) -> Json:
        items = left.get("items")
        first = left.get("prefixItems", items if isinstance(items, list) else None)
        if isinstance(first, list) and first:
            # A tuple: any of its members in each place, and its order in words.
            left.setdefault("prefixItems", first)
            fitted = [self._fit(schema) for schema in first]
            fitted = [one for place, one in enumerate(fitted) if one not in fitted[:place]]
            done: Json = {"items": fitted[0] if len(fitted) == 1 else {"anyOf": fitted}}
        else:
            done = {"items": self._fit(items)}
        left.pop("items", None)
        if type(left.get("minItems")) is int and left["minItems"] in (0, 1):
            done["minItems"] = left.pop("minItems")
        return done


def flat(schema: Json, root: Json | None = None) -> Json:
    """A schema without a reference or alternatives at its top, which Claude refuses of a tool.

    Alternatives of objects become one object: it has the properties of all, and needs those that
    all need.

    Args:
        root: holds the definitions, where they do not stand in the schema itself.
    """
    root = schema if root is None else root
    schema = _resolved(schema, root)
    choices = next((name for name in _CHOICES if name in schema), None)
    if choices is None:
        return schema
    rest = {name: value for name, value in schema.items() if name != choices}
    found = schema[choices] if isinstance(schema[choices], list) else []
    branches = [_resolved(one, root) for one in found if isinstance(one, dict)]
    of_objects = [one for one in branches if isinstance(one.get("properties"), dict)]
    if rest.get("type", "object") != "object" or (not of_objects and "properties" not in rest):
        return schema
    needed = [_names(one.get("required")) for one in branches]
    joined = set.union if choices == "allOf" else set.intersection
    common = joined(*needed) if needed else set()
    properties: Json = {}
    for one in (*reversed(of_objects), rest):
        if isinstance(named := one.get("properties"), dict):
            properties |= named
    common |= _names(rest.get("required"))
    merged = {**rest, "type": "object", "properties": properties}
    if common:
        merged["required"] = [name for name in properties if name in common]
    said = {} if choices == "allOf" else {choices: [_short(one) for one in branches]}
    return flat(_saying(merged, said), root)


def _resolved(schema: Json, root: Json) -> Json:
    """A schema in place of a reference to it at its top."""
    for _ in range(8):
        name, _, key = str(schema.get("$ref", "")).removeprefix("#/").partition("/")
        known = root.get(name) if name in _DEFINITIONS else None
        if not isinstance(known, dict) or not isinstance(known.get(key), dict):
            break
        rest = {name: value for name, value in schema.items() if name != "$ref" and value != {}}
        schema = {**known[key], **rest}
    return schema


def _short(branch: Json) -> Json:
    """A branch as far as its properties do not say it."""
    return {"properties": sorted(branch.get("properties") or {}),
            "required": sorted(_names(branch.get("required")))}  # fmt: skip


def _names(required: Any) -> set[str]:
    return (
        {one for one in required if isinstance(one, str)} if isinstance(required, list) else set()
    )


def _alone(schema: Json) -> Json:
    """A schema with what a list of one schema says in its place."""
    for name in _CHOICES:
        listed = schema.get(name)
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict):
            rest = {key: value for key, value in schema.items() if key != name}
            if not listed[0].keys() & rest.keys() - {"title", "description", "type"}:
                return _alone({**listed[0], **rest})
    return schema


def _kinds(left: Json) -> list[str]:
    """The types of a value, also where only other keywords say them."""
    named = left.get("type")
    kinds = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    kinds = [*kinds]
    if not kinds:
        kinds = ["object"] * ("properties" in left) or ["array"] * bool(
            left.keys() & {"items", "prefixItems"}
        )
    if kinds and left.get("nullable") is True and "null" not in kinds:
        kinds.append("null")
    if not all(isinstance(kind, str) and kind in TYPES for kind in kinds):
        raise Unfit
    return list(dict.fromkeys(kinds))


def _has_type(choice: Any) -> bool:
    return isinstance(choice, dict) and bool(choice.keys() & {"type", "$ref", "enum", "const"})


def _are_plain(values: Any) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and not any(isinstance(one, dict | list) for one in values)
    )


def _saying(schema: Json, said: Json) -> Json:
    """A schema whose description says what else is wanted of a value."""
    if not said:
        return schema
    words = ", ".join(
        f"{name}: {msgspec.json.encode(value).decode()}" for name, value in said.items()
    )
    before = schema.get("description")
    known = f"{before}\n\n" if isinstance(before, str) and before else ""
    return {**schema, "description": f"{known}{{{words}}}"}

"""Where settings stand: the environment, .env files and relay.toml, each with its places."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.settings.options import OPTIONS, Option, SettingsError
from relay.settings.webhooks import ENV_PREFIX

BY_FIELD = {option.field: option for option in OPTIONS}
_BY_TOML = {option.toml: option for option in OPTIONS if option.toml}
BY_ENV = {option.env: option for option in OPTIONS if option.env}
# The name that claude-relay-service gives it.
BY_ENV["ENCRYPTION_KEY"] = BY_ENV["ENCRYPT_KEY"]
_SECRETS = {"jwt_secret", "encrypt_key"}
_SECTIONS = sorted({name.partition(".")[0] for name in _BY_TOML})

# Words of the guide for what this version does not have, and what to do instead.
_INSTEAD = {
    "NODE_ENV": "the relay is no Node program and has no such modes",
    "RELAY_HOME": "it is read from the environment alone",
    "RELAY_CONFIG": "it is read from the environment alone",
    "RELAY_ETC": "it is read from the environment alone",
    "cache": "nothing is cached that could get old, so there is nothing to set",
    "clientRestrictions": "name clients of your own under [clients], and hold a key to some by"
    " `relay key edit NAME --client ID`",
    "cluster": "start `relay serve` once for each core, each with its own PORT, behind a proxy",
    "redis.maxRetriesPerRequest": "the relay reconnects by itself",
    "redis.retryDelayOnFailover": "the relay reconnects by itself",
    "usage_alert": "write it as [webhooks.usage_alert]",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was found: under which name, and where."""

    name: str
    value: object
    where: str


def parsed(given: Given, option: Option) -> Any:
    try:
        return option.parse(given.value)
    except ValueError as rule:
        seen = "" if option.secret else f", not {given.value!r}"
        raise SettingsError(
            f"{given.where}: {given.name} ({option.help}) must be {rule}{seen}."
        ) from None


def from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    names = [*BY_ENV, *(name for name in environ if name.startswith(ENV_PREFIX))]
    return _by_field(
        Given(name, environ[name], "The environment") for name in names if name in environ
    )


def _is_known(name: str) -> bool:
    return name in BY_ENV or name.startswith(ENV_PREFIX)


def _by_field(found: Iterable[Given]) -> dict[str, Given]:
    """One source's values by field, those for webhooks by name; an empty one is not given."""
    given: dict[str, Given] = {}
    for one in found:
        if one.value == "":
            continue
        field = BY_ENV[one.name].field if one.name in BY_ENV else one.name
        other = given.setdefault(field, one)
        if other.value != one.value:
            raise SettingsError(
                f"{one.where}: {one.name} says something else than {other.name}; leave one out."
            )
    return given


_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>(?!['"#])(?:(?!\s\#).)*?))
    \s*(?:(?<=\s)\#.*)?""",
    re.VERBOSE,
)


def from_lines(path: Path) -> dict[str, Given]:
    """The settings of a .env file: NAME=VALUE lines, quotes, comments and `export` allowed."""
    found = []
    for number, line in enumerate((_read(path) or "").splitlines(), 1):
        where = f"{path}, line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise SettingsError(f"{where}: this is not NAME=VALUE; quote a value with spaces or #.")
        name, single, double, bare = match.group("name", "single", "double", "bare")
        value = bare or single or re.sub(r'\\(["\\$])', r"\1", double or "")
        if _is_known(name):
            found.append(Given(name, value, where))
        elif value:
            raise _unknown(name, BY_ENV, where)
    return _by_field(found)


def salvaged(path: Path) -> dict[str, Given]:
    """What is known by name in a relay.toml that from_toml() refuses; nothing if it is no TOML."""
    try:
        document = tomllib.loads(_read(path) or "")
    except (SettingsError, tomllib.TOMLDecodeError):
        return {}
    flat = {
        f"{section}.{key}": value
        for section, keys in document.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
    }
    return {
        option.field: Given(name, value, str(path))
        for name, value in {**flat, **document}.items()
        if (option := _BY_TOML.get(name)) and value != ""
    }


def from_toml(path: Path, *, required: bool) -> dict[str, Given]:
    text = _read(path)
    if text is None:
        if required:
            raise SettingsError(f"RELAY_CONFIG names {path}, and there is no such file.")
        return {}
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None
    given = {}
    for section, keys in document.items():
        if section in _BY_TOML:
            given[_BY_TOML[section].field] = Given(section, keys, _place(path, text, section))
            continue
        if section not in _SECTIONS or not isinstance(keys, dict):
            known = _SECTIONS if isinstance(keys, dict) else _BY_TOML
            raise _unknown(section, known, _place(path, text, section))
        for key, value in keys.items():
            name = f"{section}.{key}"
            where = _place(path, text, name)
            if name not in _BY_TOML:
                raise _unknown(name, _BY_TOML, where)
            if value != "":
                given[_BY_TOML[name].field] = Given(name, value, where)
    return given


def _place(path: Path, text: str, name: str) -> str:
    """The file and, where it can be told, the line of a section or key (tomllib keeps none)."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*[\"']?([\w-]+)", line):
            section = found = header[1]
        elif assigned := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line):
            found = f"{section}.{assigned[1]}".lstrip(".")
        else:
            continue
        if name in {found, found.partition(".")[0]}:
            return f"{path}, line {number}"
    return str(path)


def _unknown(name: str, known: Iterable[str], where: str) -> SettingsError:
    instead = _INSTEAD.get(name) or _INSTEAD.get(name.partition(".")[0])
    if instead:
        return SettingsError(f"{where}: take {name} out; {instead}.")
    by_lower = {one.lower(): one for one in known}
    for one in known:
        by_lower.setdefault(one.rpartition(".")[2].lower(), one)
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[near[0]]}?" if near else "."
    return SettingsError(f"{where}: there is no setting {name}{hint}")


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None

"""The one place that reads the environment, RELAY_HOME/.env and relay.toml.

Everything else is handed a Settings. Nothing is guessed: an unknown name or a wrong value stops
the start with one sentence that says what stands where. Secrets that nobody gave are made once
and kept in RELAY_HOME/secrets.env; no message and no repr ever shows one.
"""

import contextlib
import difflib
import os
import pwd
import re
import secrets
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import quote

MIB = 1024 * 1024
_DAY_MS = 24 * 60 * 60 * 1000
_REDIS_FOLDER = "redis"


class SettingsError(Exception):
    """One sentence about what is wrong with the settings, and where it stands."""


class Secret:
    """A text that repr, str and logs show as ***; reveal() gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every option with its default; what each one means stands in OPTIONS.

    `redis_url` is None when the relay runs a Redis of its own.
    """

    home: Path
    log_directory: Path
    jwt_secret: Secret
    encrypt_key: Secret
    previous_encrypt_key: Secret | None = None
    host: str = "127.0.0.1"
    port: int = 3000
    cors_origins: tuple[str, ...] = ()
    # Longer than a proxy in front keeps its idle connections, so that the proxy closes first.
    keep_alive_s: float = 75.0
    headers_timeout_s: float = 35.0
    body_timeout_s: float = 60.0
    write_timeout_s: float = 60.0
    drain_lead_s: float = 2.0
    drain_timeout_s: float = 300.0
    max_body_bytes: int = 32 * MIB
    max_bodies_bytes: int = 128 * MIB
    # Left out of the repr: it may hold the password.
    redis_url: str | None = field(default=None, repr=False)
    base_url: str = "https://api.anthropic.com"
    request_timeout_s: float = 600.0
    connect_timeout_s: float = 10.0
    stream_headers_timeout_s: float = 120.0
    silence_timeout_s: float = 300.0
    ping_interval_s: float = 15.0
    log_level: str = "info"
    log_to_file: bool = False
    prices_file: Path | None = None
    price_multiplier: str = "1"
    usage_retention_days: int = 90
    # Where systemd wants to hear that the service is ready; not an option of ours.
    notify_socket: str = ""

    @property
    def redis_folder(self) -> Path:
        """Where the relay's own Redis keeps its data."""
        return self.home / _REDIS_FOLDER


# Parsers: a value as it was found becomes the option's own type. What their ValueError says
# completes the sentence "NAME must be …".


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or value != value.strip():
        raise ValueError("a line of text without spaces around it")
    return value


def _whole(least: int, most: int, unit: str = "") -> Callable[[object], int]:
    def parse(value: object) -> int:
        if re.fullmatch(r"[0-9]{1,18}", str(value)) and least <= int(str(value)) <= most:
            return int(str(value))
        raise ValueError(f"a whole number{unit} from {least} to {most}")

    return parse


def _ms(least: int) -> Callable[[object], float]:
    whole = _whole(least, _DAY_MS, " of milliseconds")
    return lambda value: whole(value) / 1000


def _yes_or_no(value: object) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    if (word := str(value).lower()) not in words:
        raise ValueError("true or false")
    return words[word]


def _level(value: object) -> str:
    level = {"warn": "warning"}.get(str(value).lower(), str(value).lower())
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError("debug, info, warning or error")
    return level


def _origin(value: object) -> str:
    if value == "*" or re.fullmatch(r"https?://[^/\s,]+", str(value)):
        return str(value)
    raise ValueError('a list such as ["https://console.example.com"], or ["*"]')


def _origins(value: object) -> tuple[str, ...]:
    return tuple(_origin(one) for one in (value if isinstance(value, list) else [value]))


def _api_url(value: object) -> str:
    if re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", str(value)):
        return str(value).rstrip("/")
    raise ValueError("an http or https address without user name, query or fragment")


def _redis_address(value: object) -> str:
    if re.fullmatch(r"rediss?://[^\s/]+(:[0-9]+)?(/\S*)?|unix://[^\s/]*/\S+", str(value)):
        return str(value)
    raise ValueError("redis://, rediss:// or unix:// with an address")


def _factor(value: object) -> str:
    with contextlib.suppress(InvalidOperation):
        if 0 < Decimal(str(value)) <= 1000:
            return str(value)
    raise ValueError("a number above 0 and up to 1000")


def _jwt_secret(value: object) -> Secret:
    return _secret(value, "at least 32 characters long", 32, lambda length: length >= 32)


def _encrypt_key(value: object) -> Secret:
    return _secret(value, "exactly 32 characters long", 16, lambda length: length == 32)


def _secret(value: object, rule: str, random_bytes: int, fits: Callable[[int], bool]) -> Secret:
    text = str(value)
    if fits(len(text)):
        return Secret(text)
    command = f"python3 -c 'import secrets; print(secrets.token_hex({random_bytes}))'"
    raise ValueError(f"{rule} and has {len(text)}; make one with `{command}`")


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its field of Settings, its name in relay.toml and in the environment."""

    field: str
    toml: str
    env: str
    parse: Callable[[object], Any]
    help: str
    secret: bool = False


OPTIONS = (
    Option("host", "server.host", "HOST", _text, "address to listen on"),
    Option("port", "server.port", "PORT", _whole(0, 65535), "port to listen on, 0 for any"),
    Option("cors_origins", "server.corsOrigins", "", _origins, "origins of web pages let in"),
    Option("keep_alive_s", "server.keepAliveTimeout", "", _ms(1), "how long idle clients stay"),
    Option("headers_timeout_s", "server.headersTimeout", "", _ms(1), "for a request's headers"),
    Option("body_timeout_s", "server.bodyTimeout", "", _ms(1), "silence within a request's body"),
    Option("write_timeout_s", "server.writeTimeout", "", _ms(1), "for a client that does not read"),
    Option("drain_lead_s", "server.drainLead", "", _ms(0), "/health warns so long before a stop"),
    Option("drain_timeout_s", "server.drainTimeout", "", _ms(0), "what runs at a stop may take it"),
    Option("max_body_bytes", "server.maxBodyBytes", "", _whole(1024, 1024 * MIB, " of bytes"),
           "largest request body"),
    Option("max_bodies_bytes", "server.maxBodiesBytes", "",
           _whole(1024, 64 * 1024 * MIB, " of bytes"), "all request bodies held at one time"),
    Option("redis_url", "redis.url", "REDIS_URL", _redis_address, "Redis; wins over its parts",
           secret=True),
    Option("redis_host", "redis.host", "REDIS_HOST", _text, "Redis' address"),
    Option("redis_port", "redis.port", "REDIS_PORT", _whole(1, 65535), "Redis' port"),
    Option("redis_password", "redis.password", "REDIS_PASSWORD", _text, "Redis' password",
           secret=True),
    Option("redis_db", "redis.db", "REDIS_DB", _whole(0, 65535), "Redis' database"),
    Option("base_url", "claude.baseUrl", "", _api_url, "the API of accounts that name none"),
    Option("request_timeout_s", "claude.timeout", "REQUEST_TIMEOUT", _ms(1000),
           "the most that an answer may take that is not streamed"),
    Option("connect_timeout_s", "claude.connectTimeout", "", _ms(1), "to connect to the API"),
    Option("stream_headers_timeout_s", "claude.streamHeadersTimeout", "", _ms(1),
           "until a stream begins"),
    Option("silence_timeout_s", "claude.silenceTimeout", "", _ms(1), "silence within a stream"),
    Option("ping_interval_s", "claude.pingInterval", "", _ms(1), "silence before a ping is sent"),
    Option("log_level", "logging.level", "LOG_LEVEL", _level, "what is logged"),
    Option("log_to_file", "logging.file", "LOG_TO_FILE", _yes_or_no, "log to a file, not stderr"),
    Option("log_directory", "logging.directory", "", _text, "folder of the log file"),
    Option("prices_file", "pricing.file", "", _text, "prices that replace the built-in ones"),
    Option("price_multiplier", "pricing.multiplier", "", _factor, "times every price"),
    Option("usage_retention_days", "usage.retention", "", _whole(1, 3650, " of days"),
           "how long usage records are kept"),
    Option("jwt_secret", "", "JWT_SECRET", _jwt_secret, "keys the hash of keys", secret=True),
    Option("encrypt_key", "", "ENCRYPT_KEY", _encrypt_key, "encrypts accounts' secrets",
           secret=True),
    Option("previous_encrypt_key", "", "ENCRYPT_KEY_PREVIOUS", _encrypt_key,
           "still decrypts during a rotation", secret=True),
)  # fmt: skip

_BY_FIELD = {option.field: option for option in OPTIONS}
_BY_TOML = {option.toml: option for option in OPTIONS if option.toml}
_BY_ENV = {option.env: option for option in OPTIONS if option.env}
# The name that claude-relay-service gives it.
_BY_ENV["ENCRYPTION_KEY"] = _BY_ENV["ENCRYPT_KEY"]
_SECRETS = {"jwt_secret", "encrypt_key"}
_SECTIONS = sorted({name.partition(".")[0] for name in _BY_TOML})

# Words of the guide for what this version does not have, and what to do instead.
_INSTEAD = {
    "ADMIN_PASSWORD": "this version has no web console yet",
    "CLAUDE_OAUTH_CLIENT_ID": "Claude offers no public OAuth; use `relay account add`",
    "CLAUDE_OAUTH_CLIENT_SECRET": "Claude offers no public OAuth; use `relay account add`",
    "CLAUDE_OAUTH_REDIRECT_URI": "Claude offers no public OAuth; use `relay account add`",
    "MAX_CONCURRENT_REQUESTS": "this version has no cap on concurrent requests yet",
    "NODE_ENV": "the relay is no Node program and has no such modes",
    "RELAY_HOME": "it is read from the environment alone",
    "RELAY_CONFIG": "it is read from the environment alone",
    "cache": "nothing is cached that could get old, so there is nothing to set",
    "claude.maxRetries": "this version sends each request once",
    "claude.retryDelay": "this version sends each request once",
    "clientRestrictions": "this version cannot hold keys to clients yet",
    "clients": "this version cannot hold keys to clients yet",
    "cluster": "start `relay serve` once for each core, each with its own PORT, behind a proxy",
    "limits": "this version has no budgets yet",
    "rateLimit": "this version has no rate limits yet",
    "redis.maxRetriesPerRequest": "the relay reconnects by itself",
    "redis.retryDelayOnFailover": "the relay reconnects by itself",
    "usage_alert": "this version sends no alerts yet",
    "webhooks": "this version sends no alerts yet",
}


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was found: under which name, and where."""

    name: str
    value: object
    where: str


def load(environ: Mapping[str, str]) -> Settings:
    """The settings by the environment, then RELAY_HOME/.env, then relay.toml, then the defaults.

    Missing secrets are made and kept in RELAY_HOME, which is created for it.

    Raises:
        SettingsError: a name or a value is wrong, or the data folder cannot be used.
    """
    home = _home(environ)
    config = environ.get("RELAY_CONFIG")
    kept = home / "secrets.env"
    given = {
        **_from_toml(Path(config or home / "relay.toml"), required=bool(config)),
        **_from_lines(home / ".env"),
        **_from_environment(environ),
    }
    if _SECRETS - given.keys():
        _make_secrets(home, kept)
        given = {**_from_lines(kept), **given}
    if _SECRETS - given.keys():
        raise SettingsError(f"{kept} lacks JWT_SECRET or ENCRYPT_KEY; restore it from a backup.")
    values = {name: _parsed(one, _BY_FIELD[name]) for name, one in given.items()}
    values["notify_socket"] = environ.get("NOTIFY_SOCKET", "")
    return _settings(home, values)


def _home(environ: Mapping[str, str]) -> Path:
    if named := environ.get("RELAY_HOME"):
        return Path(named).absolute()
    try:
        return Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir).absolute() / ".relay"
    except KeyError:
        raise SettingsError("Set RELAY_HOME to a folder for the relay's data.") from None


def _parsed(given: _Given, option: Option) -> Any:
    try:
        return option.parse(given.value)
    except ValueError as rule:
        seen = "" if option.secret else f", not {given.value!r}"
        raise SettingsError(
            f"{given.where}: {given.name} ({option.help}) must be {rule}{seen}."
        ) from None


def _settings(home: Path, values: dict[str, Any]) -> Settings:
    host, port = values.pop("redis_host", None), values.pop("redis_port", None)
    password, db = values.pop("redis_password", None), values.pop("redis_db", None)
    if "redis_url" not in values and any(part is not None for part in (host, port, password, db)):
        host = f"[{host}]" if ":" in (host or "") else host or "127.0.0.1"
        login = f":{quote(password, safe='')}@" if password else ""
        values["redis_url"] = f"redis://{login}{host}:{port or 6379}/{db or 0}"
    values["log_directory"] = home / values.get("log_directory", "logs")
    if "prices_file" in values:
        values["prices_file"] = home / values["prices_file"]
    return Settings(home=home, **values)


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    # Other programs have names there too, so only a limit that would not hold is refused.
    if environ.get("MAX_CONCURRENT_REQUESTS", "0") not in {"", "0"}:
        raise _unknown("MAX_CONCURRENT_REQUESTS", _BY_ENV, "The environment")
    return _by_field(
        _Given(name, environ[name], "The environment") for name in _BY_ENV if name in environ
    )


def _by_field(found: Iterable[_Given]) -> dict[str, _Given]:
    """One source's values by field; an empty one counts as not given."""
    given: dict[str, _Given] = {}
    for one in found:
        if one.value == "":
            continue
        other = given.setdefault(_BY_ENV[one.name].field, one)
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


def _from_lines(path: Path) -> dict[str, _Given]:
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
        if name in _BY_ENV:
            found.append(_Given(name, value, where))
        elif value and (name, value) != ("MAX_CONCURRENT_REQUESTS", "0"):
            raise _unknown(name, _BY_ENV, where)
    return _by_field(found)


def _from_toml(path: Path, *, required: bool) -> dict[str, _Given]:
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
        if section not in _SECTIONS or not isinstance(keys, dict):
            known = _SECTIONS if isinstance(keys, dict) else _BY_TOML
            raise _unknown(section, known, _place(path, text, section))
        for key, value in keys.items():
            name = f"{section}.{key}"
            where = _place(path, text, name)
            if name not in _BY_TOML:
                raise _unknown(name, _BY_TOML, where)
            if value != "":
                given[_BY_TOML[name].field] = _Given(name, value, where)
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


def _make_secrets(home: Path, kept: Path) -> None:
    """Write both secrets to `kept`, whole or not at all, unless they are there already."""
    # Looked at first: who made it had made the secrets before.
    has_data = (home / _REDIS_FOLDER).exists()
    if kept.exists():
        return
    if has_data:
        raise SettingsError(
            f"{home} holds data but no secrets: give the JWT_SECRET and ENCRYPT_KEY of before,"
            f" or restore {kept.name}."
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=home, prefix=".secrets-") as draft:
            draft.write(f"JWT_SECRET={secrets.token_hex(32)}\n")
            draft.write(f"ENCRYPT_KEY={secrets.token_hex(16)}\n")
            draft.flush()
            os.fsync(draft.fileno())
            # Of two processes that start at once the second finds the first one's file.
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, kept)
        _sync_folder(home)
    except OSError as error:
        raise SettingsError(
            f"The data folder {home} cannot be used: {error.strerror}; set RELAY_HOME to another."
        ) from None


def _sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut: without its secrets the data is worthless."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What can be set: the values, their defaults, and the table of names and parsers."""

import base64
import contextlib
import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from relay.settings import redis_url
from relay.settings.secret import Secret
from relay.settings.webhooks import Webhook
from relay.settings.webhooks import parse as parse_webhooks

MIB = 1024 * 1024
_DAY_MS = 24 * 60 * 60 * 1000
REDIS_FOLDER = "redis"
LEAST_PASSWORD = 10
_MOST_BURST = 100
_PUBLIC_KEY_BYTES = 32


class SettingsError(Exception):
    """One sentence about what is wrong with the settings, and where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every option with its default; what each one means stands in OPTIONS.

    `redis_url` is None when the relay runs a Redis of its own.
    """

    home: Path
    # relay.toml, and the folder of secrets.env and of the keys of backups.
    config: Path
    etc: Path
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
    express_lane: bool = True
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
    max_retries: int = 3
    retry_delay_s: float = 0.25
    retry_timeout_s: float = 2.5
    check_interval_s: float = 300.0
    # Left out of the repr: it may hold a password.
    proxy: str | None = field(default=None, repr=False)
    identity_token_folders: tuple[Path, ...] = ()
    inner_networks: tuple[str, ...] = ()
    oauth_client_id: str = ""
    oauth_client_secret: Secret | None = None
    oauth_redirect_uri: str = ""
    oauth_authorize_url: str = ""
    oauth_token_url: str = ""
    oauth_scopes: str = ""
    # Requests of one key in a sliding window, where the key says nothing else.
    rate_enabled: bool = True
    rate_max: int = 100
    rate_window_s: float = 60.0
    max_concurrent: int = 0
    # Calls that wait for a slot, of the whole relay, an account or a key that says how long.
    most_waiting: int = 100
    wait_s: float = 30.0
    key_percent: int = 90
    budgets: tuple[tuple[str, str], ...] = ()
    budget_mode: str = ""
    soft_burst: float = 1.0
    # What the operator tells those whose budget is spent.
    blocked_message: str = ""
    clients: Mapping[str, str] = field(default_factory=dict)
    # Claude's models by other names, for clients of OpenAI's APIs.
    openai_models: Mapping[str, str] = field(default_factory=dict)
    openai_caches: bool = True
    # The same for clients of the Anthropic API.
    claude_models: Mapping[str, str] = field(default_factory=dict)
    trusted_proxies: tuple[str, ...] = ()
    web_enabled: bool = True
    # Empty: from everywhere.
    web_addresses: tuple[str, ...] = ()
    log_level: str = "info"
    log_to_file: bool = False
    prices_file: Path | None = None
    price_multiplier: str = "1"
    prices_public_key: str = ""
    usage_retention_days: int = 90
    webhooks: tuple[Webhook, ...] = ()
    usage_max_memory: int = 0
    backup_folder: Path = Path("backups")
    backup_daily: int = 7
    backup_weekly: int = 4
    backup_monthly: int = 6
    backup_include: tuple[Path, ...] = ()
    backup_copy_command: str = ""
    # When the monitor speaks of a warning and when of a critical state, in percent: of what is used
    # of disks, memory and Redis' memory, of what is left of a certificate's life, and of requests
    # that failed.
    monitor_disk_warning: int = 85
    monitor_disk_critical: int = 95
    monitor_memory_warning: int = 90
    monitor_memory_critical: int = 97
    monitor_redis_warning: int = 80
    monitor_redis_critical: int = 95
    # Caddy renews when a third is left.
    monitor_certificate_warning: int = 25
    monitor_certificate_critical: int = 10
    monitor_errors_warning: int = 10
    monitor_errors_critical: int = 50
    # Of fewer requests than these a rate says nothing.
    monitor_errors_least: int = 20
    # Of these there should be none, however few requests there are.
    monitor_own_errors_least: int = 3
    # Two hours more than a day: a backup takes its time.
    monitor_backup_hours: int = 26
    monitor_drill_days: int = 8
    monitor_starts: int = 3
    # Of the first admin, when there is no user yet.
    admin_password: Secret | None = None
    # Where systemd wants to hear that the service is ready, and how long it may then hear nothing
    # (0: for ever); not options of ours.
    notify_socket: str = ""
    watchdog_s: float = 0.0
    # Where each option that was given stands, by its field; what is not in here has its default.
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def redis_folder(self) -> Path:
        """Where the relay's own Redis keeps its data."""
        return self.home / REDIS_FOLDER

    @property
    def usage_folder(self) -> Path:
        """Where the records lie that Redis no longer holds."""
        return self.home / "usage"


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
        return api_base(str(value))
    raise ValueError("an http or https address without user name, query or fragment")


# The provider's terms allow no service to pass on logins made there.
_ANTHROPIC_DOMAINS = ("anthropic.com", "claude.ai", "claude.com")


# A path of the API itself, which people copy along with its base address.
_API_PATH = re.compile(
    r"(?<=[^/:])(?:/+v1(?:/+messages(?:/+(?:count_tokens|batches))?|/+models|/+files)?)*/*\Z"
)


def api_base(url: str) -> str:
    """The base address of an API, without the API's own paths and without a slash at its end."""
    return _API_PATH.sub("", url, count=1)


def is_anthropics(url: str) -> bool:
    """Whether an address is one of Anthropic's own."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    return any(host == name or host.endswith("." + name) for name in _ANTHROPIC_DOMAINS)


def _own_url(value: object) -> str:
    url = str(value)
    if is_anthropics(url):
        raise ValueError(
            "an address of your own OAuth server: the provider's terms do not allow a service to"
            " hold or pass on claude.ai logins, so accounts there use API keys"
        )
    if re.fullmatch(r"https?://[^/\s#@]+(/[^\s#]*)?", url):
        return url
    raise ValueError("an http or https address without user name or fragment")


_PROXY = re.compile(
    r"(https?|socks5)://"
    r"([^/\s?#@:]+(:[^/\s?#@:]*)?@)?"  # user name and password
    r"(\[[0-9A-Fa-f:.]+\]|[^/\s?#@:\[\]]+)(:[0-9]{1,5})?/?"
)


def _proxy_url(value: object) -> str:
    if _PROXY.fullmatch(str(value)):
        return str(value)
    raise ValueError("http://, https:// or socks5:// with an address; no password without a name")


def _dollars(value: object) -> str:
    with contextlib.suppress(InvalidOperation):
        if 0 < Decimal(str(value)) <= 10**9:
            return str(value)
    raise ValueError("an amount of US dollars")


def _mode(value: object) -> str:
    if value in ("strict", "soft"):
        return str(value)
    raise ValueError("strict or soft")


def _budgets_more(value: object) -> float:
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", str(value)) and float(str(value)) <= _MOST_BURST:
        return float(str(value))
    raise ValueError(f"a number from 0 to {_MOST_BURST}, such as 0.5")


def _patterns(value: object) -> Mapping[str, str]:
    pairs = dict(value) if isinstance(value, dict) else {}
    for name, pattern in pairs.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError("a table of ids made of letters, digits, . _ and -")
        try:
            re.compile(str(pattern))
        except re.error as error:
            raise ValueError(f"a table of regular expressions; {name}: {error}") from None
    return {name: str(pattern) for name, pattern in pairs.items()}


def _models(value: object) -> Mapping[str, str]:
    pairs = dict(value) if isinstance(value, dict) else {"": ""}
    if not all(_MODEL.fullmatch(str(one)) for pair in pairs.items() for one in pair):
        raise ValueError('a table of names such as "gpt-4o" = "claude-opus-5-5"')
    return {name: str(model) for name, model in pairs.items()}


_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@~-]{0,199}")


def _networks(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else re.split(r"[\s,]+", str(value))
    try:
        return tuple(str(ipaddress.ip_network(str(one))) for one in listed)
    except ValueError:
        raise ValueError('a list of addresses or networks such as ["127.0.0.1"]') from None


def _paths(value: object) -> tuple[Path, ...]:
    listed = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if not all(one.startswith("/") for one in listed):
        raise ValueError('a list of absolute paths such as ["/etc/relay"]')
    return tuple(Path(one) for one in listed)


def _command(value: object) -> str:
    with contextlib.suppress(ValueError):
        if shlex.split(str(value)):
            return str(value)
    raise ValueError("a command with its words quoted as in a shell")


def _redis_address(value: object) -> str:
    return redis_url.check(str(value))


def _factor(value: object) -> str:
    with contextlib.suppress(InvalidOperation):
        if 0 < Decimal(str(value)) <= 1000:
            return str(value)
    raise ValueError("a number above 0 and up to 1000")


def _public_key(value: object) -> str:
    with contextlib.suppress(ValueError):
        if value == "" or len(base64.b64decode(str(value), validate=True)) == _PUBLIC_KEY_BYTES:
            return str(value)
    raise ValueError("an Ed25519 public key: its 32 bytes in base64")


def _jwt_secret(value: object) -> Secret:
    return _secret(value, "at least 32 characters long", 32, lambda length: length >= 32)


def _encrypt_key(value: object) -> Secret:
    return _secret(value, "exactly 32 characters long", 16, lambda length: length == 32)


def _password(value: object) -> Secret:
    if LEAST_PASSWORD <= len(str(value)) <= 1024:
        return Secret(str(value))
    raise ValueError(f"at least {LEAST_PASSWORD} characters long")


def _any_secret(value: object) -> Secret:
    return Secret(_text(value))


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


def _monitor_options() -> tuple[Option, ...]:
    percent = _whole(0, 100, " of percent")
    shares = (
        ("disk", "of a disk in use"),
        ("memory", "of the machine's memory in use"),
        ("redis", "of Redis' maxmemory in use"),
        ("certificate", "of a certificate's life left"),
        ("errors", "of the last five minutes' requests failed"),
    )
    rows = (
        *((f"{name}_{level}", percent, f"percent {of_what}: {level}")
          for name, of_what in shares for level in ("warning", "critical")),
        ("errors_least", _whole(1, 10**6), "requests under which their failures are not judged"),
        ("own_errors_least", _whole(1, 10**6), "errors of Relay's own that are a problem"),
        ("backup_hours", _whole(1, 10_000), "hours that the newest backup may be old"),
        ("drill_days", _whole(1, 10_000), "days that the last drill may be ago"),
        ("starts", _whole(0, 3), "times in an hour that a stopped unit is started; 0 for never"),
    )  # fmt: skip
    return tuple(
        Option(f"monitor_{name}", f"monitor.{_camel(name)}", f"MONITOR_{name.upper()}", parse, text)
        for name, parse, text in rows
    )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


OPTIONS = (
    Option("host", "server.host", "HOST", _text, "address to listen on"),
    Option("port", "server.port", "PORT", _whole(0, 65535), "port to listen on, 0 for any"),
    Option("cors_origins", "server.corsOrigins", "", _origins, "origins of web pages let in"),
    Option("keep_alive_s", "server.keepAliveTimeout", "", _ms(1),
           "ms that an idle connection stays open"),
    Option("headers_timeout_s", "server.headersTimeout", "", _ms(1), "ms for a request's headers"),
    Option("body_timeout_s", "server.bodyTimeout", "", _ms(1),
           "ms of silence within a request's body"),
    Option("write_timeout_s", "server.writeTimeout", "", _ms(1),
           "ms for a client that reads nothing"),
    Option("express_lane", "server.expressLane", "", _yes_or_no,
           "whether plain API requests take the faster HTTP server"),
    Option("drain_lead_s", "server.drainLead", "", _ms(0), "ms that /health warns before a stop"),
    Option("drain_timeout_s", "server.drainTimeout", "", _ms(0),
           "ms that running requests get at a stop"),
    Option("max_body_bytes", "server.maxBodyBytes", "", _whole(1024, 1024 * MIB, " of bytes"),
           "bytes of the largest request body"),
    Option("max_bodies_bytes", "server.maxBodiesBytes", "",
           _whole(1024, 64 * 1024 * MIB, " of bytes"), "bytes of all request bodies at one time"),
    Option("redis_url", "redis.url", "REDIS_URL", _redis_address, "Redis; wins over its parts",
           secret=True),
    Option("redis_host", "redis.host", "REDIS_HOST", _text, "Redis' address"),
    Option("redis_port", "redis.port", "REDIS_PORT", _whole(1, 65535), "Redis' port"),
    Option("redis_password", "redis.password", "REDIS_PASSWORD", _text, "Redis' password",
           secret=True),
    Option("redis_db", "redis.db", "REDIS_DB", _whole(0, 65535), "Redis' database"),
    Option("base_url", "claude.baseUrl", "", _api_url, "the API of accounts that name none"),
    Option("request_timeout_s", "claude.timeout", "REQUEST_TIMEOUT", _ms(1000),
           "ms that an answer may take that is not streamed"),
    Option("connect_timeout_s", "claude.connectTimeout", "", _ms(1), "ms to connect to the API"),
    Option("stream_headers_timeout_s", "claude.streamHeadersTimeout", "", _ms(1),
           "ms until a stream begins"),
    Option("silence_timeout_s", "claude.silenceTimeout", "", _ms(1),
           "ms of silence within a stream"),
    Option("ping_interval_s", "claude.pingInterval", "", _ms(1), "ms of silence before a ping"),
    Option("max_retries", "claude.maxRetries", "", _whole(0, 20),
           "times that the last account is asked again"),
    Option("retry_delay_s", "claude.retryDelay", "", _ms(1), "ms before it is asked again"),
    Option("retry_timeout_s", "claude.retryTimeout", "", _ms(0),
           "ms that a request waits in all before it is tried again"),
    Option("check_interval_s", "claude.checkInterval", "", _ms(1000),
           "ms between checks of accounts"),
    Option("proxy", "claude.proxy", "", _proxy_url, "outbound proxy of accounts that name none",
           secret=True),
    Option("inner_networks", "claude.innerNetworks", "", _networks,
           "inner networks that accounts set by a role may lead to"),
    Option("identity_token_folders", "claude.identityTokenFolders", "", _paths,
           "folders below which accounts may name an identity token's file"),
    Option("oauth_client_id", "claude.oauthClientId", "CLAUDE_OAUTH_CLIENT_ID", _text,
           "this relay's id at your OAuth server"),
    Option("oauth_client_secret", "", "CLAUDE_OAUTH_CLIENT_SECRET", _any_secret,
           "this relay's secret at your OAuth server", secret=True),
    Option("oauth_redirect_uri", "claude.oauthRedirectUri", "CLAUDE_OAUTH_REDIRECT_URI", _own_url,
           "this relay's /auth/claude/callback"),
    Option("oauth_authorize_url", "claude.oauthAuthorizeUrl", "CLAUDE_OAUTH_AUTHORIZE_URL",
           _own_url, "your OAuth server's page where a person signs in"),
    Option("oauth_token_url", "claude.oauthTokenUrl", "CLAUDE_OAUTH_TOKEN_URL", _own_url,
           "your OAuth server's address for tokens"),
    Option("oauth_scopes", "claude.oauthScopes", "CLAUDE_OAUTH_SCOPES", _text,
           "what a sign-in asks for, with spaces between"),
    Option("rate_enabled", "rateLimit.enabled", "", _yes_or_no,
           "whether keys without a rate of their own have one"),
    Option("rate_max", "rateLimit.maxRequests", "", _whole(1, 10**9),
           "requests of such a key in a window"),
    Option("rate_window_s", "rateLimit.windowMs", "", _ms(1000), "ms of that sliding window"),
    Option("max_concurrent", "limits.maxConcurrentRequests", "MAX_CONCURRENT_REQUESTS",
           _whole(0, 10**6), "requests of the whole relay at one time, 0 for any"),
    Option("most_waiting", "limits.maxWaiting", "", _whole(0, 10**6),
           "calls that wait in one line for a slot; more are refused"),
    Option("wait_s", "limits.waitTimeout", "", _ms(0),
           "ms that a call waits for a slot"),
    Option("key_percent", "limits.keySharePercent", "", _whole(1, 100, " of percent"),
           "percent of an account's or the relay's slots that one of several keys may have"),
    Option("budget_daily", "limits.budgetDaily", "", _dollars, "dollars of the whole relay a day"),
    Option("budget_weekly", "limits.budgetWeekly", "", _dollars,
           "dollars of the whole relay a week"),
    Option("budget_monthly", "limits.budgetMonthly", "", _dollars,
           "dollars of the whole relay a month"),
    Option("budget_total", "limits.budgetTotal", "", _dollars,
           "dollars of the whole relay for good"),
    Option("budget_mode", "limits.budgetMode", "", _mode, "how the relay's budgets hold"),
    Option("soft_burst", "limits.softBurst", "", _budgets_more,
           "budgets more that requests at one time may cost at most at a soft budget"),
    Option("blocked_message", "limits.blockedMessage", "", _text,
           "told to those whose budget is spent"),
    Option("clients", "clients", "", _patterns, "User-Agents of your own clients, by id"),
    Option("openai_models", "openai.models", "", _models,
           "Claude's models by the names that clients of OpenAI's APIs use"),
    Option("openai_caches", "openai.cachePrompts", "", _yes_or_no,
           "have Claude cache the prompts of chats and responses that mark nothing themselves"),
    Option("claude_models", "claude.models", "", _models,
           "Claude's models by the names that clients of the Anthropic API use"),
    Option("trusted_proxies", "server.trustedProxies", "TRUSTED_PROXIES", _networks,
           "proxies whose X-Forwarded-For is believed"),
    Option("web_enabled", "web.enabled", "", _yes_or_no, "whether there are console and admin API"),
    Option("web_addresses", "web.allowedAddresses", "", _networks,
           "addresses that console and admin API are open to; all when left out"),
    Option("log_level", "logging.level", "LOG_LEVEL", _level, "the least that is logged"),
    Option("log_to_file", "logging.file", "LOG_TO_FILE", _yes_or_no, "log to a file as well"),
    Option("log_directory", "logging.directory", "LOG_DIRECTORY", _text, "folder of the log file"),
    Option("prices_file", "pricing.file", "", _text, "file of prices that replace built-in ones"),
    Option("price_multiplier", "pricing.multiplier", "", _factor,
           "what every price is multiplied by"),
    Option("prices_public_key", "pricing.publicKey", "", _public_key,
           "key by which newer price tables are signed"),
    Option("usage_retention_days", "usage.retention", "", _whole(1, 3650, " of days"),
           "days that usage records are kept"),
    Option("webhooks", "webhooks", "", parse_webhooks, "who is told of what", secret=True),
    Option("usage_max_memory", "usage.maxMemory", "", _whole(0, 1024 * 1024 * MIB, " of bytes"),
           "bytes of usage records in Redis; 0 for 40 % of its maxmemory"),
    Option("backup_folder", "backup.folder", "BACKUP_FOLDER", _text, "folder of the backups"),
    Option("backup_daily", "backup.keepDaily", "", _whole(1, 3650),
           "days of which a backup is kept"),
    Option("backup_weekly", "backup.keepWeekly", "", _whole(0, 520),
           "weeks of which a backup is kept"),
    Option("backup_monthly", "backup.keepMonthly", "", _whole(0, 120),
           "months of which a backup is kept"),
    Option("backup_include", "backup.include", "", _paths,
           "files and folders that backups hold as well"),
    Option("backup_copy_command", "backup.copyCommand", "", _command,
           "command that takes each new backup as its last word"),
    *_monitor_options(),
    Option("jwt_secret", "", "JWT_SECRET", _jwt_secret,
           "what hashes of keys are made with", secret=True),
    Option("encrypt_key", "", "ENCRYPT_KEY", _encrypt_key,
           "what accounts' secrets are encrypted with", secret=True),
    Option("previous_encrypt_key", "", "ENCRYPT_KEY_PREVIOUS", _encrypt_key,
           "what ENCRYPT_KEY was, during a rotation", secret=True),
    Option("admin_password", "", "ADMIN_PASSWORD", _password,
           "the first user's password at the first start", secret=True),
)  # fmt: skip

"""The one place that reads the environment, RELAY_HOME/.env and relay.toml.

Everything else is handed a Settings. Nothing is guessed: an unknown name or a wrong value stops
the start with one sentence that says what stands where. Secrets that nobody gave are made once
and kept in RELAY_HOME/secrets.env; no message and no repr ever shows one.
"""

import contextlib
import dataclasses
import os
import pwd
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relay.settings import redis_url
from relay.settings.options import (
    LEAST_PASSWORD,
    OPTIONS,
    REDIS_FOLDER,
    Option,
    Settings,
    SettingsError,
    api_base,
    is_anthropics,
)
from relay.settings.secret import Secret
from relay.settings.shown import ShownSetting, shown
from relay.settings.sources import (
    BY_FIELD,
    Given,
    from_environment,
    from_lines,
    from_toml,
    parsed,
    salvaged,
)
from relay.settings.webhooks import ENV_PREFIX, EVENTS, USUAL_MARKS, Webhook, filled
from relay.settings.withheld import withhold

__all__ = [
    "EVENTS", "LEAST_PASSWORD", "OPTIONS", "USUAL_MARKS", "Option", "Secret", "Settings",
    "SettingsError", "ShownSetting", "Webhook", "api_base", "is_anthropics", "load",
    "load_or_salvage", "shown", "withhold",
]  # fmt: skip

# What must be there before anything is encrypted or hashed.
_PERIODS = ("daily", "weekly", "monthly", "total")
_SECRETS = {"jwt_secret", "encrypt_key"}


def load(environ: Mapping[str, str], *, may_make: bool = True) -> Settings:
    """The settings by the environment, then RELAY_HOME/.env, then relay.toml, then the defaults.

    Missing secrets are made and kept in RELAY_ETC, which is RELAY_HOME unless it is given, and
    is created for it.

    Args:
        may_make: False for who only looks: then missing secrets are an error.

    Raises:
        SettingsError: a name or a value is wrong, or the data folder cannot be used.
    """
    home = _home(environ)
    config, etc = _places(environ, home)
    kept = etc / "secrets.env"
    given = {
        **from_toml(config, required="RELAY_CONFIG" in environ),
        **from_lines(home / ".env"),
        **from_environment(environ),
    }
    if _SECRETS - given.keys():
        if may_make:
            _make_secrets(home, kept)
        given = {**from_lines(kept), **given}
    if _SECRETS - given.keys() and not kept.exists():
        raise SettingsError(
            f"There is no JWT_SECRET or ENCRYPT_KEY, neither in the environment nor in {kept}. The"
            " first `relay serve` makes them; where there was data, restore them from a backup."
        )
    if _SECRETS - given.keys():
        raise SettingsError(f"{kept} lacks JWT_SECRET or ENCRYPT_KEY; restore it from a backup.")
    given = _with_webhooks(given)
    values = {name: parsed(one, BY_FIELD[name]) for name, one in given.items()}
    values["origins"] = {name: one.where for name, one in given.items()}
    values["notify_socket"] = environ.get("NOTIFY_SOCKET", "")
    values["watchdog_s"] = int(environ.get("WATCHDOG_USEC") or 0) / 1e6
    return _settings(home, {**values, "config": config, "etc": etc})


def _with_webhooks(given: Mapping[str, Given]) -> dict[str, Given]:
    """What was given, with what the environment says of webhooks put into their tables."""
    named = {name: one.value for name, one in given.items() if name.startswith(ENV_PREFIX)}
    found = {name: one for name, one in given.items() if name not in named}
    if "webhooks" in found:
        one = found["webhooks"]
        found["webhooks"] = dataclasses.replace(one, value=filled(one.value, named))
    return found


def load_or_salvage(environ: Mapping[str, str]) -> tuple[Settings, str]:
    """The settings as they are, for who only looks, and what is wrong with them.

    Where something is wrong they are what can be read of them; a secret that cannot is empty, and
    what does not understand an empty one says so.

    Raises:
        SettingsError: there is no data folder at all.
    """
    try:
        return load(environ, may_make=False), ""
    except SettingsError as error:
        problem = str(error)
    home = _home(environ)
    config, etc = _places(environ, home)
    given = salvaged(config)
    for file in (etc / "secrets.env", home / ".env"):
        with contextlib.suppress(SettingsError):
            given |= from_lines(file)
    with contextlib.suppress(SettingsError):
        given |= from_environment(environ)
    values: dict[str, Any] = {"jwt_secret": Secret(""), "encrypt_key": Secret("")}
    for name, one in _with_webhooks(given).items():
        with contextlib.suppress(SettingsError):
            values[name] = parsed(one, BY_FIELD[name])
    return _settings(home, {**values, "config": config, "etc": etc}), problem


def _places(environ: Mapping[str, str], home: Path) -> tuple[Path, Path]:
    """Where relay.toml lies, and the folder of secrets.env."""
    config = environ.get("RELAY_CONFIG") or home / "relay.toml"
    return Path(config).absolute(), Path(environ.get("RELAY_ETC") or home).absolute()


def _home(environ: Mapping[str, str]) -> Path:
    if named := environ.get("RELAY_HOME"):
        return Path(named).absolute()
    try:
        return Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir).absolute() / ".relay"
    except KeyError:
        raise SettingsError("Set RELAY_HOME to a folder for the relay's data.") from None


def _settings(home: Path, values: dict[str, Any]) -> Settings:
    host, port = values.pop("redis_host", None), values.pop("redis_port", None)
    password, db = values.pop("redis_password", None), values.pop("redis_db", None)
    if "redis_url" not in values and any(part is not None for part in (host, port, password, db)):
        host = f"[{host}]" if ":" in (host or "") else host or "127.0.0.1"
        login = f":{quote(password, safe='')}@" if password else ""
        values["redis_url"] = f"redis://{login}{host}:{port or 6379}/{db or 0}"
        try:
            redis_url.check(values["redis_url"])
        except ValueError:
            raise SettingsError("REDIS_HOST must be one host's name or address.") from None
    parts = {period: values.pop(f"budget_{period}", "") for period in _PERIODS}
    values["budgets"] = tuple((period, amount) for period, amount in parts.items() if amount)
    values["log_directory"] = home / values.get("log_directory", "logs")
    values["backup_folder"] = home / values.get("backup_folder", "backups")
    if "prices_file" in values:
        values["prices_file"] = home / values["prices_file"]
    return Settings(home=home, **values)


def _make_secrets(home: Path, kept: Path) -> None:
    """Write both secrets to `kept`, whole or not at all, unless they are there already."""
    # Looked at first: who made it had made the secrets before.
    has_data = (home / REDIS_FOLDER).exists()
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

"""Settings come from where they should, and what is wrong is named with its place."""

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from relay import settings
from relay.settings import OPTIONS, Secret, Settings, SettingsError

JWT_SECRET = "j" * 32
ENCRYPT_KEY = "e" * 32
SECRETS = {"JWT_SECRET": JWT_SECRET, "ENCRYPT_KEY": ENCRYPT_KEY}


def load(home: Path, **environ: str) -> Settings:
    return settings.load({"RELAY_HOME": str(home), **SECRETS, **environ})


def problem(home: Path, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(home, **environ)
    return str(caught.value)


def write_toml(home: Path, text: str) -> Path:
    path = home / "relay.toml"
    path.write_text(text)
    return path


def write_env(home: Path, text: str) -> None:
    (home / ".env").write_text(text)


def test_without_any_setting_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load(tmp_path)

    assert (loaded.host, loaded.port, loaded.redis_url) == ("127.0.0.1", 3000, None)
    assert loaded.base_url == "https://api.anthropic.com"
    assert loaded.request_timeout_s == 600
    assert loaded.log_directory == tmp_path / "logs"


def test_the_home_is_dot_relay_in_the_users_own_folder(tmp_path: Path) -> None:
    loaded = settings.load({"HOME": str(tmp_path), **SECRETS})

    assert loaded.home == tmp_path / ".relay"


def test_the_environment_wins_over_the_env_file_and_that_over_relay_toml(tmp_path: Path) -> None:
    write_toml(tmp_path, "[server]\nport = 1\nhost = 'toml'\n[logging]\nlevel = 'error'\n")
    write_env(tmp_path, "PORT=2\nHOST=file\n")

    loaded = load(tmp_path, PORT="3")

    assert (loaded.port, loaded.host, loaded.log_level) == (3, "file", "error")


def test_each_setting_is_shown_with_its_value_and_where_it_stands(tmp_path: Path) -> None:
    write_toml(tmp_path, "[server]\nport = 1\nkeepAliveTimeout = 5000\n[limits]\nbudgetDaily = 9\n")
    write_env(tmp_path, "LOG_LEVEL=error\n")
    loaded = load(tmp_path, HOST="::1", REDIS_PASSWORD="hidden-word")

    told = {one.name: (one.value, one.where) for one in settings.shown(loaded)}

    assert told["server.host"] == ("::1", "The environment")
    assert told["logging.level"] == ("error", f"{tmp_path}/.env, line 1")
    assert told["server.keepAliveTimeout"] == (5000, f"{tmp_path}/relay.toml, line 3")
    assert told["limits.budgetDaily"] == ("9", f"{tmp_path}/relay.toml, line 5")
    assert told["redis.url"] == ("***", "The environment")
    assert told["JWT_SECRET"] == ("***", "The environment")
    assert told["server.drainLead"] == (2000, "")
    assert told["backup.folder"] == (Path("backups"), "")


def test_every_option_of_relay_toml_reaches_its_field(tmp_path: Path) -> None:
    write_toml(
        tmp_path,
        """
        [server]
        host = "::1"
        port = 4000
        trustedProxies = ["127.0.0.1", "10.0.0.0/8"]
        corsOrigins = ["https://a.example", "http://localhost:5173"]
        keepAliveTimeout = 30000
        headersTimeout = 35500
        bodyTimeout = 1000
        writeTimeout = 2000
        expressLane = false
        drainLead = 0
        drainTimeout = 3000
        maxBodyBytes = 1048576
        maxBodiesBytes = 4194304
        [web]
        enabled = false
        allowedAddresses = ["10.8.0.0/24", "::1"]
        [rateLimit]
        enabled = false
        maxRequests = 50
        windowMs = 30000
        [limits]
        maxConcurrentRequests = 40
        maxWaiting = 7
        blockedMessage = "Ask Kim."
        waitTimeout = 5000
        keySharePercent = 75
        budgetDaily = 12.5
        budgetTotal = 1000
        budgetMode = "strict"
        softBurst = 0.5
        [clients]
        own = "my-tool/"
        [openai]
        cachePrompts = true
        [openai.models]
        "gpt-4o" = "claude-opus-5-5"
        [claude.models]
        "claude-3-opus-20240229" = "claude-opus-5-5"
        [redis]
        url = "rediss://u:p@redis.example:6380/2"
        [claude]
        baseUrl = "https://proxy.example/anthropic/"
        timeout = 300000
        connectTimeout = 4000
        streamHeadersTimeout = 5000
        silenceTimeout = 6000
        pingInterval = 7000
        maxRetries = 1
        retryDelay = 250
        retryTimeout = 1500
        checkInterval = 60000
        proxy = "socks5://u:p@proxy.example:1080"
        identityTokenFolders = ["/var/run/secrets"]
        innerNetworks = ["10.0.0.0/8"]
        oauthClientId = "relay"
        oauthRedirectUri = "https://relay.example/auth/claude/callback"
        oauthAuthorizeUrl = "https://login.example/authorize?tenant=1"
        oauthTokenUrl = "https://login.example/token"
        oauthScopes = "inference offline_access"
        [logging]
        level = "warn"
        file = true
        directory = "/var/log/relay"
        [pricing]
        file = "prices.toml"
        multiplier = 1.25
        publicKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        [usage]
        retention = 30
        maxMemory = 100000000
        [backup]
        folder = "/var/backups/relay"
        keepDaily = 3
        keepWeekly = 2
        keepMonthly = 1
        include = ["/etc/relay"]
        copyCommand = "rclone copyto -- 'my file'"

        [monitor]
        diskWarning = 1
        diskCritical = 2
        memoryWarning = 3
        memoryCritical = 4
        redisWarning = 5
        redisCritical = 6
        certificateWarning = 7
        certificateCritical = 8
        errorsWarning = 9
        errorsCritical = 10
        errorsLeast = 11
        ownErrorsLeast = 14
        backupHours = 12
        drillDays = 13
        starts = 2
        """,
    )

    loaded = load(tmp_path)

    values = {
        field.name: getattr(loaded, field.name)
        for field in dataclasses.fields(loaded)
        if field.compare and not isinstance(getattr(loaded, field.name), Secret | None)
    }
    assert values == {
        "home": tmp_path,
        "config": tmp_path / "relay.toml",
        "etc": tmp_path,
        "host": "::1",
        "port": 4000,
        "trusted_proxies": ("127.0.0.1/32", "10.0.0.0/8"),
        "web_enabled": False,
        "web_addresses": ("10.8.0.0/24", "::1/128"),
        "rate_enabled": False,
        "rate_max": 50,
        "rate_window_s": 30.0,
        "max_concurrent": 40,
        "most_waiting": 7,
        "key_percent": 75,
        "blocked_message": "Ask Kim.",
        "wait_s": 5.0,
        "budgets": (("daily", "12.5"), ("total", "1000")),
        "budget_mode": "strict",
        "soft_burst": 0.5,
        "clients": {"own": "my-tool/"},
        "openai_models": {"gpt-4o": "claude-opus-5-5"},
        "openai_caches": True,
        "claude_models": {"claude-3-opus-20240229": "claude-opus-5-5"},
        "cors_origins": ("https://a.example", "http://localhost:5173"),
        "keep_alive_s": 30.0,
        "headers_timeout_s": 35.5,
        "body_timeout_s": 1.0,
        "write_timeout_s": 2.0,
        "express_lane": False,
        "drain_lead_s": 0.0,
        "drain_timeout_s": 3.0,
        "max_body_bytes": 1048576,
        "max_bodies_bytes": 4194304,
        "redis_url": "rediss://u:p@redis.example:6380/2",
        "base_url": "https://proxy.example/anthropic",
        "request_timeout_s": 300.0,
        "connect_timeout_s": 4.0,
        "stream_headers_timeout_s": 5.0,
        "silence_timeout_s": 6.0,
        "ping_interval_s": 7.0,
        "max_retries": 1,
        "retry_delay_s": 0.25,
        "retry_timeout_s": 1.5,
        "check_interval_s": 60.0,
        "proxy": "socks5://u:p@proxy.example:1080",
        "inner_networks": ("10.0.0.0/8",),
        "identity_token_folders": (Path("/var/run/secrets"),),
        "oauth_client_id": "relay",
        "oauth_redirect_uri": "https://relay.example/auth/claude/callback",
        "oauth_authorize_url": "https://login.example/authorize?tenant=1",
        "oauth_token_url": "https://login.example/token",
        "oauth_scopes": "inference offline_access",
        "log_level": "warning",
        "log_to_file": True,
        "log_directory": Path("/var/log/relay"),
        "prices_file": tmp_path / "prices.toml",
        "price_multiplier": "1.25",
        "prices_public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "usage_retention_days": 30,
        "webhooks": (),
        "usage_max_memory": 100_000_000,
        "backup_folder": Path("/var/backups/relay"),
        "backup_daily": 3,
        "backup_weekly": 2,
        "backup_monthly": 1,
        "backup_include": (Path("/etc/relay"),),
        "backup_copy_command": "rclone copyto -- 'my file'",
        "monitor_disk_warning": 1,
        "monitor_disk_critical": 2,
        "monitor_memory_warning": 3,
        "monitor_memory_critical": 4,
        "monitor_redis_warning": 5,
        "monitor_redis_critical": 6,
        "monitor_certificate_warning": 7,
        "monitor_certificate_critical": 8,
        "monitor_errors_warning": 9,
        "monitor_errors_critical": 10,
        "monitor_errors_least": 11,
        "monitor_own_errors_least": 14,
        "monitor_backup_hours": 12,
        "monitor_drill_days": 13,
        "monitor_starts": 2,
        "notify_socket": "",
        "watchdog_s": 0.0,
    }


@pytest.mark.parametrize("given", ["-1", "100.5", "1e9", "nan", "inf", "true", '"all"'])
def test_a_burst_that_no_budget_bounds_is_refused(tmp_path: Path, given: str) -> None:
    write_toml(tmp_path, f"[limits]\nsoftBurst = {given}")

    assert "must be a number from 0 to 100" in problem(tmp_path)


@pytest.mark.parametrize("host", ["claude.ai", "console.anthropic.com", "CLAUDE.COM."])
def test_oauth_is_refused_at_anthropics_own_addresses(tmp_path: Path, host: str) -> None:
    write_toml(tmp_path, f'[claude]\noauthTokenUrl = "https://{host}/oauth/token"')

    assert "provider's terms do not allow" in problem(tmp_path)


def test_every_option_belongs_to_a_field_or_is_a_part_of_the_redis_url() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    parts = {"redis_host", "redis_port", "redis_password", "redis_db"}
    parts |= {f"budget_{period}" for period in ("daily", "weekly", "monthly", "total")}

    assert {option.field for option in OPTIONS} - fields == parts


def test_the_environment_speaks_by_the_guides_names(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        PORT="3001",
        HOST="0.0.0.0",
        LOG_LEVEL="DEBUG",
        LOG_TO_FILE="true",
        REQUEST_TIMEOUT="300000",
        ENCRYPT_KEY_PREVIOUS="p" * 32,
    )

    assert (loaded.port, loaded.host, loaded.log_level) == (3001, "0.0.0.0", "debug")
    assert (loaded.log_to_file, loaded.request_timeout_s) == (True, 300.0)
    assert loaded.previous_encrypt_key is not None
    assert loaded.previous_encrypt_key.reveal() == "p" * 32


def test_the_socket_that_systemd_names_is_handed_on(tmp_path: Path) -> None:
    assert load(tmp_path, NOTIFY_SOCKET="@/run/notify").notify_socket == "@/run/notify"


def test_systemd_s_patience_is_told_in_seconds(tmp_path: Path) -> None:
    assert load(tmp_path, WATCHDOG_USEC="10000000").watchdog_s == 10.0


def test_the_environment_names_several_proxies_in_one_line(tmp_path: Path) -> None:
    loaded = load(tmp_path, TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8 ::1")

    assert loaded.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8", "::1/128")


def test_the_parts_make_a_redis_url(tmp_path: Path) -> None:
    assert load(tmp_path, REDIS_HOST="db").redis_url == "redis://db:6379/0"
    assert load(tmp_path, REDIS_PORT="6380").redis_url == "redis://127.0.0.1:6380/0"
    assert load(tmp_path, REDIS_HOST="::1", REDIS_DB="3").redis_url == "redis://[::1]:6379/3"
    assert load(tmp_path, REDIS_PASSWORD="p@:/#").redis_url == (
        "redis://:p%40%3A%2F%23@127.0.0.1:6379/0"
    )


def test_the_redis_url_wins_over_the_parts(tmp_path: Path) -> None:
    loaded = load(tmp_path, REDIS_URL="unix:///run/redis.sock?db=1", REDIS_HOST="elsewhere")

    assert loaded.redis_url == "unix:///run/redis.sock?db=1"


def test_an_empty_value_counts_as_not_given(tmp_path: Path) -> None:
    write_env(tmp_path, "PORT=4000\nCLAUDE_OAUTH_CLIENT_ID=\n")

    loaded = load(tmp_path, PORT="", REDIS_PASSWORD="", REDIS_URL="")

    assert (loaded.port, loaded.redis_url) == (4000, None)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("HOST=plain", "plain"),
        ("  export HOST = spaced  # comment", "spaced"),
        ("HOST='single # not a comment'", "single # not a comment"),
        ('HOST="double \\" and \\\\"', 'double " and \\'),
        ('HOST="quoted" # comment', "quoted"),
        ("HOST=a#b", "a#b"),
        ("# a comment\n\nHOST=last", "last"),
        ("\ufeffHOST=after-a-mark", "after-a-mark"),
        ("HOST=windows\r\n", "windows"),
        ("HOST= # nothing", "127.0.0.1"),
    ],
)
def test_an_env_file_may_be_written_in_many_ways(tmp_path: Path, line: str, host: str) -> None:
    write_env(tmp_path, line)

    assert load(tmp_path).host == host


@pytest.mark.parametrize(
    ("proxy", "is_good"),
    [
        ("http://proxy:3128", True),
        ("https://user:p%40ss@proxy.example/", True),
        ("socks5://[2001:db8::1]:1080", True),
        ("http://:secret@proxy:3128", False),
        ("http://user:a@b@proxy", False),
        ("http://proxy:3128/path", False),
        ("ftp://proxy", False),
    ],
)
def test_a_proxys_address_is_checked_at_the_start(
    tmp_path: Path, proxy: str, is_good: bool
) -> None:
    write_toml(tmp_path, f'[claude]\nproxy = "{proxy}"')
    if is_good:
        assert load(tmp_path).proxy == proxy
    else:
        with pytest.raises(SettingsError) as caught:
            load(tmp_path)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("line", ["HOST", "HOST='x", 'HOST="x" y', "A B=1", "=1", "HOST=#x"])
def test_a_malformed_line_of_an_env_file_is_named_with_its_number(
    tmp_path: Path, line: str
) -> None:
    write_env(tmp_path, f"PORT=1\n{line}\n")

    assert problem(tmp_path).startswith(f"{tmp_path}/.env, line 2: ")


def test_an_unknown_name_in_an_env_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    write_env(tmp_path, "REDIS_PASWORD=x\n")

    sentence = problem(tmp_path)

    assert sentence.endswith(
        ".env, line 1: there is no setting REDIS_PASWORD; did you mean REDIS_PASSWORD?"
    )


@pytest.mark.parametrize(
    ("text", "line", "name", "nearest"),
    [
        ("[server]\n\nprot = 1", 3, "server.prot", "server.port"),
        ("[server]\ncors_origins = []", 2, "server.cors_origins", "server.corsOrigins"),
        ("# comment\n[servr]\nport = 1", 2, "servr", "server"),
        ("port = 1", 1, "port", "server.port"),
        ("server.prot = 1", 1, "server.prot", "server.port"),
        ("server = { prot = 1 }", 1, "server.prot", "server.port"),
    ],
)
def test_an_unknown_word_of_relay_toml_is_named_with_its_line_and_the_nearest(
    tmp_path: Path, text: str, line: int, name: str, nearest: str
) -> None:
    path = write_toml(tmp_path, text)

    assert problem(tmp_path) in {
        f"{path}, line {line}: there is no setting {name}; did you mean {nearest}?",
        # The line of a key in an inline table cannot be told.
        f"{path}: there is no setting {name}; did you mean {nearest}?",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[cluster]\nenabled = true", "line 1: take cluster out; start `relay serve` once"),
        ("[cache]", "line 1: take cache out; nothing is cached"),
        ("[clientRestrictions]", "line 1: take clientRestrictions out; name clients of your"),
        ("[usage_alert]", "line 1: take usage_alert out; write it as [webhooks.usage_alert]"),
        ("[redis]\nretryDelayOnFailover = 1", "line 2: take redis.retryDelayOnFailover out; the"),
    ],
)
def test_a_word_of_the_guide_that_is_not_here_is_refused_with_what_replaces_it(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = write_toml(tmp_path, text)

    assert problem(tmp_path).startswith(f"{path}, {sentence}")


def test_a_limit_in_the_environment_holds_or_is_refused(tmp_path: Path) -> None:
    assert "MAX_CONCURRENT_REQUESTS" in problem(tmp_path, MAX_CONCURRENT_REQUESTS="many")
    loaded = load(tmp_path, MAX_CONCURRENT_REQUESTS="10", NODE_ENV="production")
    assert loaded.max_concurrent == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("HOST", " x"),
        ("REDIS_PORT", "0"),
        ("REDIS_DB", "one"),
        ("LOG_LEVEL", "loud"),
        ("LOG_TO_FILE", "perhaps"),
        ("REQUEST_TIMEOUT", "999"),
        ("REQUEST_TIMEOUT", "1.5"),
    ],
)
def test_a_wrong_value_in_the_environment_is_named(tmp_path: Path, name: str, value: str) -> None:
    sentence = problem(tmp_path, **{name: value})

    assert sentence.startswith(f"The environment: {name} (")
    assert sentence.endswith(f", not {value!r}.")


@pytest.mark.parametrize(
    "line",
    [
        "server.port = true",
        "server.port = 3000.5",
        "server.keepAliveTimeout = 0",
        "server.corsOrigins = ['example.com']",
        "server.corsOrigins = 1",
        "claude.baseUrl = 'ftp://x'",
        "claude.baseUrl = 'https://user@x'",
        "claude.baseUrl = 'https://x?q'",
        "pricing.multiplier = 'nan'",
        "pricing.multiplier = -1",
        "pricing.publicKey = 'AAAA'",
        "pricing.publicKey = 'no base64'",
        "usage.retention = 0",
        "logging.level = []",
    ],
)
def test_a_wrong_value_in_relay_toml_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = write_toml(tmp_path, f"\n{line}\n")

    assert problem(tmp_path).startswith(f"{path}, line 2: {line.partition(' ')[0]} (")


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_toml(tmp_path, "[server]\nport = \n")

    assert problem(tmp_path).startswith(f"{path} is not valid TOML: ")
    assert "line 2" in problem(tmp_path)


def test_a_config_that_was_named_must_exist(tmp_path: Path) -> None:
    assert "no such file" in problem(tmp_path, RELAY_CONFIG=str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", "hunter2" * 3),
        ("ENCRYPT_KEY", "hunter2" * 3),
        ("ENCRYPT_KEY", "hunter2" * 6),
        ("ENCRYPT_KEY_PREVIOUS", "hunter2"),
        ("REDIS_URL", "http://:hunter2@x"),
        ("REDIS_PASSWORD", "hunter2\n"),
    ],
)
def test_no_sentence_shows_a_secret(tmp_path: Path, name: str, value: str) -> None:
    sentence = problem(tmp_path, **{name: value})

    assert name in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize("name", ["JWT_SECRET", "ENCRYPT_KEY"])
def test_the_command_against_a_short_secret_makes_one_that_fits(tmp_path: Path, name: str) -> None:
    command = problem(tmp_path, **{name: "short"}).split("`")[1]

    code = command.removeprefix("python3 -c '").removesuffix("'")
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert load(tmp_path, **{name: made.stdout.strip()})


def test_the_encrypt_key_may_go_by_its_other_name(tmp_path: Path) -> None:
    home = {"RELAY_HOME": str(tmp_path), "JWT_SECRET": JWT_SECRET}

    assert settings.load({**home, "ENCRYPTION_KEY": ENCRYPT_KEY}).encrypt_key.reveal() == (
        ENCRYPT_KEY
    )
    assert load(tmp_path, ENCRYPTION_KEY=ENCRYPT_KEY)
    assert "ENCRYPTION_KEY says something else" in problem(tmp_path, ENCRYPTION_KEY="x" * 32)


def test_nothing_shows_a_secret_when_the_settings_are_printed(tmp_path: Path) -> None:
    loaded = load(tmp_path, REDIS_PASSWORD="hunter2", ENCRYPT_KEY_PREVIOUS="p" * 32)

    shown = f"{loaded} {loaded!r} {dataclasses.asdict(loaded)['jwt_secret']}"

    for secret in ("hunter2", JWT_SECRET, ENCRYPT_KEY, "p" * 32):
        assert secret not in shown


def test_missing_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"

    first = settings.load({"RELAY_HOME": str(home)})
    second = settings.load({"RELAY_HOME": str(home)})

    assert first.jwt_secret.reveal() == second.jwt_secret.reveal()
    assert first.encrypt_key.reveal() == second.encrypt_key.reveal()
    assert len(first.encrypt_key.reveal()) == 32
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "secrets.env").stat().st_mode) == 0o600
    assert os.listdir(home) == ["secrets.env"]


def test_given_secrets_leave_the_disk_alone(tmp_path: Path) -> None:
    load(tmp_path / "home")

    assert not (tmp_path / "home").exists()


def test_a_given_secret_wins_over_the_kept_one(tmp_path: Path) -> None:
    settings.load({"RELAY_HOME": str(tmp_path)})

    loaded = settings.load({"RELAY_HOME": str(tmp_path), "JWT_SECRET": JWT_SECRET})

    assert loaded.jwt_secret.reveal() == JWT_SECRET


def test_processes_that_start_at_once_have_the_same_secrets(tmp_path: Path) -> None:
    code = (
        "import sys; sys.stdin.read()\n"
        "from relay import settings\n"
        f"chosen = settings.load({{'RELAY_HOME': {str(tmp_path / 'home')!r}}})\n"
        "print(chosen.jwt_secret.reveal(), chosen.encrypt_key.reveal())"
    )
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None

    said = {process.communicate(timeout=30)[0] for process in started}

    assert len(said) == 1
    assert len(said.pop().split()) == 2


def test_secrets_are_never_made_anew_beside_old_data(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()

    with pytest.raises(SettingsError, match="holds data but no secrets"):
        settings.load({"RELAY_HOME": str(tmp_path)})
    assert load(tmp_path)


def test_an_incomplete_file_of_secrets_is_not_completed(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text(f"JWT_SECRET={JWT_SECRET}\n")

    with pytest.raises(SettingsError, match=r"secrets\.env lacks"):
        settings.load({"RELAY_HOME": str(tmp_path)})


def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(SettingsError) as caught:
        settings.load({"RELAY_HOME": str(blocked / "home")})
    assert str(blocked / "home") in str(caught.value)


def test_who_only_looks_makes_no_secrets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    _, wrong = settings.load_or_salvage({"RELAY_HOME": str(home)})

    assert "There is no JWT_SECRET" in wrong
    assert not home.exists()


def test_what_is_good_in_broken_settings_can_still_be_read(tmp_path: Path) -> None:
    write_toml(
        tmp_path,
        """
        [monitor]
        diskWarning = 70
        nothing = 1
        [server]
        port = "many"
        [[webhooks]]
        url = "https://example.com"
        """,
    )
    write_env(tmp_path, "this is no line\n")
    environ = {"RELAY_HOME": str(tmp_path), "ENCRYPT_KEY": "short", "REDIS_URL": "redis://there"}
    found, wrong = settings.load_or_salvage({**SECRETS, **environ})

    assert "there is no setting monitor.nothing" in wrong
    assert (found.monitor_disk_warning, found.port, found.redis_url) == (70, 3000, "redis://there")
    assert [one.shown for one in found.webhooks] == ["https://example.com"]
    assert (found.jwt_secret.reveal(), found.encrypt_key.reveal()) == (JWT_SECRET, "")


def test_of_a_relay_toml_that_is_no_toml_nothing_is_read(tmp_path: Path) -> None:
    write_toml(tmp_path, "[monitor\ndiskWarning = 70\n")
    found, wrong = settings.load_or_salvage({"RELAY_HOME": str(tmp_path), **SECRETS})

    assert "is not valid TOML" in wrong
    assert found.monitor_disk_warning == 85


REDIS_URLS = {
    "two hosts": ("redis://:hidden@one:6379,two:6379/0", "one host"),
    "two hosts without ports": ("redis://:hidden@one,two/0", "one host"),
    "two hosts, by TLS": ("rediss://u:hidden@one:1,two:2", "one host"),
    "no host": ("redis://:hidden@", "a host"),
    "only a database": ("redis:///3", "a host"),
    "a port of letters": ("redis://:hidden@h:port", "port"),
    "port 0": ("redis://:hidden@h:0", "port"),
    "a port over 65535": ("redis://:hidden@h:65536", "port"),
    "an IPv6 address without brackets": ("redis://:hidden@fe80::1/0", "port"),
    "half an IPv6 address": ("redis://:hidden@[::1", "percent-encoded"),
    "a database of letters": ("redis://:hidden@h/main", "number of a database"),
    "two databases": ("redis://:hidden@h/0/1", "number of a database"),
    "a database option of letters": ("redis://:hidden@h?db=main", "number of a database"),
    "a slash in the password": ("redis://:hid/den@h:1", "percent-encoded"),
    "a question mark in the password": ("redis://:hid?den@h:1", "percent-encoded"),
    "a hash in the password": ("redis://:hid#den@h:1", "percent-encoded"),
    "another scheme": ("https://:hidden@h", "redis://, rediss:// or unix://"),
    "no scheme": ("h:6379", "redis://, rediss:// or unix://"),
    "a scheme in capitals": ("REDIS://:hidden@h", "redis://, rediss:// or unix://"),
    "no socket": ("unix://", "path of a socket"),
    "an option that means nothing here": ("redis://:hidden@h?socket_timeout=1", "socket_timeout"),
    "an option of TLS without TLS": ("redis://:hidden@h?ssl_ca_certs=/a", "ssl_ca_certs"),
    "an unknown option of TLS": ("rediss://:hidden@h?ssl_ciphers=x", "ssl_ciphers"),
    "a wrong value": ("rediss://:hidden@h?ssl_cert_reqs=optional", "none or required"),
    "an option twice": ("rediss://h?ssl_cert_reqs=none&ssl_cert_reqs=required", "once"),
    "a key without its certificate": ("rediss://h?ssl_keyfile=/a", "ssl_certfile"),
}


@pytest.mark.parametrize(("url", "words"), REDIS_URLS.values(), ids=REDIS_URLS)
def test_a_wrong_redis_url_is_a_sentence_without_its_password(
    tmp_path: Path, url: str, words: str
) -> None:
    sentence = problem(tmp_path, REDIS_URL=url)

    assert words in sentence
    assert "REDIS_URL" in sentence
    for part in ("hidden", "hid/", "den@"):
        assert part not in sentence


@pytest.mark.parametrize(
    "url",
    [
        "redis://h", "redis://:p%40%2F@h:1/2", "redis://u:p,w@[::1]:1/2?db=3",
        "unix:///run/redis.sock?db=1", "rediss://h/0?ssl_ca_certs=/a&ssl_check_hostname=false",
    ],
)  # fmt: skip
def test_a_redis_url_is_taken_as_it_stands(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, REDIS_URL=url).redis_url == url


def test_several_hosts_in_the_parts_are_a_sentence(tmp_path: Path) -> None:
    assert "REDIS_HOST" in problem(tmp_path, REDIS_HOST="one,two", REDIS_PASSWORD="hidden")

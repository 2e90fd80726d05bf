"""The console in a real Chromium: a person's whole way through it, and each page's looks."""

import csv
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
from anthropic import Anthropic, APIStatusError, DefaultHttpxClient
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from relay import passwords, store

from ..process.conftest import UPSTREAM_KEY, Home
from .conftest import PASSWORD
from .test_upkeep import dead_letter

pytestmark = [pytest.mark.npm, pytest.mark.slow]

HERE = Path(__file__).parent
AXE = HERE.parent / "npm" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = HERE / "shots"
SOON_MS = 15_000
# The bytes of a page and of all that it needs, and the milliseconds until it was there.
WEIGH = """() => {
  const parts = performance.getEntriesByType("navigation")
    .concat(performance.getEntriesByType("resource").filter(one => !one.name.includes("live")));
  const page = parts[0];
  return {bytes: parts.reduce((sum, one) => sum + one.encodedBodySize, 0),
    ms: Math.round(page.domContentLoadedEventEnd - page.startTime)};
}"""
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which asks nobody on the network anything."""
    found = shutil.which("chromium")
    assert found, "tests/run --all installs chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    one = Home(tmp_path_factory.mktemp("console"))
    one.env["ADMIN_PASSWORD"] = PASSWORD
    folder = one.folder / "home"
    folder.mkdir()
    # Nobody listens there, so what is sent fails and is tried again.
    (folder / "relay.toml").write_text(
        '[claude]\ninnerNetworks = ["127.0.0.1"]\n'
        '[[webhooks]]\nname = "operators"\nurl = "http://127.0.0.1:9/hook"\nallowPrivate = true\n'
    )
    yield one
    one.end()


@pytest.fixture(scope="module")
def upstream(home: Home) -> str:
    return home.simulator()


@pytest.fixture(scope="module")
def url(home: Home) -> str:
    process, address = home.serve()
    assert process.stdout is not None
    # What it logs in so many pages is more than a pipe holds; nobody reading would stop it.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return address


class Watched:
    """A page whose console and failures are looked at in the end."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(SOON_MS)
        self.page = context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _note(self, message: object) -> None:
        if getattr(message, "type", "") in ("error", "warning"):
            self.faults.append(str(getattr(message, "text", message)))


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport=SIZES["wide"], timezone_id="Asia/Seoul")
    one = Watched(context)
    yield one
    context.close()
    # A refused form is an answer of 4xx, which the browser notes.
    assert [fault for fault in one.faults if "status of 4" not in fault] == []


def sign_in(page: Page, url: str, name: str = "admin", code: str = "") -> None:
    page.goto(f"{url}/web")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def use(url: str, key: str) -> int:
    """Send a request as a Python program does; the answer's status."""
    with (
        DefaultHttpxClient(trust_env=False) as http,
        Anthropic(base_url=f"{url}/api", api_key=key, max_retries=0, http_client=http) as client,
    ):
        try:
            client.messages.create(
                model="claude-opus-5",
                max_tokens=100,
                messages=[{"role": "user", "content": "hello"}],
            )
        except APIStatusError as error:
            return error.status_code
        return 200


def test_a_person_goes_the_whole_way(url: str, upstream: str, watched: Watched, browser: Browser):
    page = watched.page
    sign_in(page, url)
    expect(page.locator("#now")).to_contain_text("There is no account yet")

    # A second factor.
    page.get_by_role("link", name="admin").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Set up a second factor").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    secret = page.locator("#secret").inner_text()
    page.get_by_label("Code", exact=True).fill(passwords.totp_code(secret))
    page.get_by_role("button", name="Confirm").click()
    codes = page.locator("#codes").inner_text().split()
    assert len(codes) == 10
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, url, code=passwords.totp_code(secret, time.time() + 30))

    # An account.
    page.get_by_role("link", name="Add the first account").click()
    page.get_by_role("link", name="API key").click()
    page.get_by_label("Name", exact=True).fill("main")
    page.get_by_label("Address of its API").fill(upstream)
    page.get_by_label("Secret").fill(UPSTREAM_KEY)
    page.get_by_role("button", name="Add the account").click()
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text("The upstream accepts this account's credential.")).to_be_visible()

    # A key, used while somebody looks at the overview and the requests.
    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_role("link", name="Make the first key").click()
    page.get_by_label("Name", exact=True).fill("bob")
    page.get_by_label("Per day", exact=True).fill("5")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#key").inner_text()
    expect(page.locator("#claude")).to_contain_text(f"ANTHROPIC_BASE_URL={url}/api")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".copied", has=page.locator("#cherry")).get_by_role("button").click()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"{url}/openai/claude/v1/"
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#now")).to_contain_text("All is well.")
    today = page.locator(".tiles > div", has_text="Requests today").locator("dd")
    expect(today).to_have_text("0")
    assert use(url, key) == 200
    expect(today).to_have_text("1", timeout=SOON_MS)
    bar = page.locator("#now svg.requests title", has_text=re.compile(": 1$"))
    expect(bar).to_have_count(1, timeout=SOON_MS)
    page.get_by_role("link", name="Requests", exact=True).click()
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    assert use(url, key) == 200
    expect(page.locator("#rows tbody tr")).to_have_count(2, timeout=SOON_MS)
    page.get_by_label("Outcome").select_option("failed")
    expect(page.locator("#rows")).to_contain_text("No request is like that")
    page.get_by_label("Outcome").select_option("ok")
    expect(page.locator("#rows tbody tr")).to_have_count(2)
    page.locator("#rows tbody a").first.click()
    expect(page.locator("main")).to_contain_text("main was chosen of 1 that could serve")

    # Limits, a new text, and the end of the key.
    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_label("Search").press_sequentially("zzzzzz")
    expect(page.locator("#rows")).to_contain_text("No key is like that")
    page.get_by_label("Search").fill("bob")
    found = page.get_by_role("link", name="bob")
    expect(found).to_have_attribute("href", re.compile("^/web/keys/"))
    # By its address: the rows may be drawn anew under the pointer.
    page.goto(f"{url}{found.get_attribute('href')}")
    page.get_by_role("link", name="Change").click()
    page.get_by_label("Requests per day").fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name=re.compile("Requests per day.*2"))).to_be_visible()
    identity = page.url.rpartition("/")[2].partition("?")[0]
    assert use(url, key) == 429
    page.get_by_role("link", name="Change").click()
    page.get_by_label("Requests per day").fill("")
    page.get_by_role("button", name="Save").click()
    page.get_by_label("Hours for which").select_option("0")
    page.get_by_role("button", name="Rotate").click()
    rotated = page.locator("#key").inner_text()
    assert (use(url, key), use(url, rotated)) == (401, 200)
    page.get_by_role("link", name="Done").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("Disabled.")).to_be_visible()
    assert use(url, rotated) == 401
    page.get_by_role("button", name="Enable").click()
    page.get_by_text("Delete this key").click()
    page.get_by_label("Type bob to confirm").fill("bo")
    page.locator("details form").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was deleted")

    # An owner, and what was used as a file.
    page.get_by_role("link", name="Keys", exact=True).first.click()
    page.get_by_role("link", name="Owners").click()
    page.get_by_label("Name", exact=True).fill("team-b")
    page.get_by_label("Per month").fill("20")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name=re.compile("Budget per month.*20"))).to_be_visible()
    page.get_by_role("link", name="Usage").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    (row,) = csv.DictReader(download.value.path().read_text().splitlines())
    assert (row["key_id"], row["key_name"], row["requests"]) == (identity, "bob", "3")

    # What is told when something happens.
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_role("link", name="operators").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("region", name="Deliveries")).to_contain_text("Relay: a test")
    page.get_by_role("link", name="Usage").click()

    # Times are this person's own (Seoul is nine hours ahead).
    shown = page.locator("main time").first
    utc, local = shown.get_attribute("title") or "", shown.inner_text()
    assert f"{(int(utc[11:13]) + 9) % 24:02}:" in local

    # Out, everywhere.
    other = Watched(browser.new_context())
    sign_in(other.page, url, code=codes[0])
    page.get_by_role("link", name="admin").click()
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    # The other one looks at the overview, which notices by itself.
    expect(other.page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=SOON_MS)
    other.page.context.close()


def test_a_keys_holder_sees_their_usage(url: str, home: Home, watched: Watched):
    made = home.json("key", "create", "--name", "holder", "--daily-limit", "9")
    assert isinstance(made, dict)
    page = watched.page
    page.goto(f"{url}/web/my")
    page.get_by_label("Your key").fill(str(made["key"]))
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="holder")).to_be_visible()
    assert str(made["key"]) not in page.url


def test_the_first_page_is_small(url: str, home: Home, watched: Watched):
    home.relay("user", "add", "quick", "--password-file", "-", stdin=PASSWORD)
    page = watched.page
    sizes: list[int] = []

    def weigh(request: Request) -> None:
        if "live" not in request.url:
            sizes.append(int(request.sizes()["responseBodySize"]))

    page.on("requestfinished", weigh)
    page.goto(f"{url}/web")
    page.get_by_label("Name").fill("quick")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    weight, timing = sum(sizes), []
    for _ in range(5):
        page.reload()
        timing.append(page.evaluate(
            "() => { const n = performance.getEntriesByType('navigation')[0];"
            " return n.responseEnd - n.requestStart; }"
        ))  # fmt: skip
    # The sign-in, the overview, the sheet, the script and the picture.
    assert 0 < weight < 150_000
    print(f"overview: {min(timing):.0f} ms, {weight} bytes in all")  # noqa: T201


async def fill_in(socket: Path, account_id: str, webhook_id: str) -> None:
    """What time would bring: daily reports, an account that had trouble, an alert given up."""
    now = datetime.now(UTC)
    async with store.opened(f"unix://{socket}") as opened:
        for ago in range(1, 8):
            day = f"{now - timedelta(days=ago):%Y-%m-%d}"
            models = [{"model": "claude-opus-5", "requests": 9, "tokens": 7, "cost": 1.5 * ago}]
            report = {
                "date": day, "totalRequests": 1234 * ago, "totalTokens": 98_765 * ago,
                "uniqueUsers": 3, "errorRate": 0.25 * ago, "cost": 2.25 * ago,
                "topModels": models,
            }  # fmt: skip
            await opened.usage.keep_report(day, json.dumps(report), {})
        for hours, before, state in ((20, "ok", "cooling"), (17, "cooling", "failing"),
                                     (9, "failing", "ok")):  # fmt: skip
            at = int((now - timedelta(hours=hours)).timestamp() * 1000)
            fields = {"at": at, "account": account_id, "name": "north", "class": "",
                      "before": before, "state": state, "reason": "429 rate_limit_error",
                      "until": ""}  # fmt: skip
            parts = [part for pair in fields.items() for part in pair]
            await opened._db.call("XADD", store.name("states"), "*", *parts)
        await fill_past(opened._db, now)
        letter = json.dumps(dead_letter("1-1"))
        await opened._db.call("RPUSH", store.name("webhook_dead", webhook_id), letter)


async def fill_past(db: Any, now: datetime) -> None:
    """Usage of the hours and days before: what was used in this hour, more or less often."""
    month = store.name("series", f"{now:%Y-%m}")
    series = await db.hash(month)
    cells = await db.call("HGETALL", store.name("count_hour", f"{now:%Y-%m-%dT%H}"))
    hours = [("count_hour", now - timedelta(hours=ago), "%Y-%m-%dT%H") for ago in range(1, 72)]
    days = [("count_day", now - timedelta(days=ago), "%Y-%m-%d") for ago in range(1, 40)]
    for kind, at, form in hours + days:
        # Busy by day and on weekdays, as people are.
        times = (8 - abs(at.hour - 13) if kind == "count_hour" else 40) * (1 + at.weekday() % 5)
        other = store.name("series", f"{at:%Y-%m}")
        if other != month:
            await db.call("HSET", other, *[part for pair in series.items() for part in pair])
        for number, packed in zip(cells[::2], cells[1::2], strict=True):
            amounts = [max(times, 0) * one for one in msgspec.msgpack.decode(packed)]
            counted = store.name(kind, f"{at:{form}}")
            await db.call("HSET", counted, number, msgspec.msgpack.encode(amounts))


@pytest.fixture(scope="module")
def filled(home: Home, url: str, upstream: str) -> dict[str, str]:
    """Keys, accounts and users in many states, a user who looks, and what pages they look at."""
    home.relay("user", "add", "looker", "--role", "admin", "--password-file", "-", stdin=PASSWORD)
    for name in ("north", "south"):
        home.relay("account", "add", name, "--base-url", upstream, "--secret-file", "-",
                   stdin=UPSTREAM_KEY)  # fmt: skip
    home.relay("account", "add", "broken-credential", "--base-url", upstream, "--secret-file", "-",
               "--priority", "90", stdin="no-good")  # fmt: skip
    home.relay("account", "disable", "south")
    home.relay("owner", "set", "team-a", "--budget-daily", "0.01", "--budget-monthly", "40")
    home.relay("webhook", "test", check=False)
    home.relay("backup", "--init")
    home.relay("backup")
    made = home.json(
        "key", "create", "--name", "kim@example.com", "--budget-daily", "0.002", "--rate",
        "50/60", "--tag", "team-a", "--tag", "laptop", "--owner", "team-a",
        "--monthly-limit", "900",
    )  # fmt: skip
    assert isinstance(made, dict)
    home.relay("key", "create", "--name", "build server", "--expires", "30d", "--tag", "ci")
    home.relay("key", "disable", "build server")
    while use(url, str(made["key"])) == 200:
        pass
    with httpx.Client(trust_env=False, timeout=20) as client:
        client.post(f"{url}/web/sign-in", data={"name": "looker", "password": PASSWORD})
        rows = client.get(f"{url}/web/requests").text
        accounts = home.json("account", "list")
    assert isinstance(accounts, list)
    (hook,) = home.json("webhook", "list")  # type: ignore[misc]
    north = next(one["id"] for one in accounts if one["name"] == "north")
    request = re.search(r"/web/requests/req_\w+", rows)
    trio.run(fill_in, home.folder / "home" / "redis.sock", str(north), str(hook["id"]))
    assert request
    return {
        "overview": "/web",
        "keys": "/web/keys",
        "keys-none": "/web/keys?q=nothinglikethis",
        "key": f"/web/keys/{made['id']}",
        "key-edit": f"/web/keys/{made['id']}/edit",
        "key-new": "/web/keys/new",
        "accounts": "/web/accounts",
        "account": f"/web/accounts/{north}",
        "account-kinds": "/web/accounts/new",
        **{
            f"account-new-{kind}": f"/web/accounts/new?kind={kind}"
            for kind in ("api_key", "federation", "oauth", "session_key")
        },
        "owners": "/web/owners",
        "owner": "/web/owners/team-a",
        "webhooks": "/web/webhooks",
        "webhook": f"/web/webhooks/{hook['id']}",
        "backups": "/web/backups",
        "reports": "/web/reports",
        "sessions": "/web/sessions",
        "prices": "/web/prices",
        "clients": "/web/clients",
        "requests-found": "/web/requests?key=kim&status=200",
        "requests": "/web/requests",
        "usage": "/web/usage?by=key&and=model",
        "usage-month": "/web/usage?since=30d&by=day",
        "usage-none": "/web/usage?since=2026-01&until=2026-01",
        "request": request[0],
        "audit": "/web/audit",
        "users": "/web/users",
        "user": "/web/users/looker",
        "settings": "/web/settings",
        "own": "/web/own",
        "missing": "/web/nothing",
    }


@pytest.mark.parametrize("place", ["", "/accounts"])
def test_a_table_stays_where_it_was_scrolled_to_while_the_page_is_live(
    browser: Browser, url: str, filled: dict[str, str], place: str
):
    context = browser.new_context(viewport=SIZES["phone"])
    page = Watched(context).page
    sign_in(page, url, name="looker")
    page.goto(f"{url}/web{place}")
    table = page.get_by_role("region", name="Accounts")
    table.evaluate("table => { table.scrollLeft = 60; table.dataset.old = ''; }")
    expect(table).not_to_have_attribute("data-old", "", timeout=SOON_MS)
    assert table.evaluate("table => table.scrollLeft") == 60
    context.close()


@pytest.mark.parametrize(
    ("scheme", "size", "language"),
    [(scheme, size, "en") for scheme in ("light", "dark") for size in SIZES]
    + [("light", size, "ko") for size in SIZES],
)
def test_each_page_is_accessible_fits_and_says_no_error(
    browser: Browser, url: str, filled: dict[str, str], size: str, scheme: str, language: str
):
    SHOTS.mkdir(exist_ok=True)
    context = browser.new_context(
        viewport=SIZES[size], color_scheme=scheme, locale=language, bypass_csp=False
    )
    watched = Watched(context)
    page, problems, weights = watched.page, [], {}

    def look(name: str) -> None:
        page.screenshot(path=SHOTS / f"{name}-{size}-{scheme}-{language}.png", full_page=True)
        # By the debugger, which the page's policy does not bind.
        page.evaluate(AXE.read_text())
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        problems.extend(
            f"{name}: {one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for one in found["violations"] for node in one["nodes"][:3]
        )  # fmt: skip
        weights[name] = page.evaluate(WEIGH)
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            problems.append(f"{name}: {wide} pixels wider than the window")

    page.goto(f"{url}/web/sign-in")
    look("sign-in")
    page.goto(f"{url}/web/my")
    look("my")
    page.goto(f"{url}/web/sign-in")
    page.locator("#f-name").fill("looker")
    page.locator("#f-password").fill(PASSWORD)
    page.locator("form button").first.click()
    page.wait_for_url(f"{url}/web")
    for name, path in filled.items():
        page.goto(url + path)
        look(name)
    page.goto(f"{url}/web/keys/new")
    page.locator("#f-name").fill(f"made-{size}-{scheme}-{language}")
    page.locator("main form button").click()
    look("key-made")
    page.goto(f"{url}/web/own")
    page.locator("#f-current").fill(PASSWORD)
    page.locator("main form button").first.click()
    look("second-factor")
    context.close()
    (SHOTS / f"weights-{size}-{scheme}-{language}.json").write_text(json.dumps(weights, indent=1))
    assert max(one["bytes"] for one in weights.values()) < 150_000, weights
    faults = [one for one in watched.faults if "status of 4" not in one]
    assert problems + faults == []

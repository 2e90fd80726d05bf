"""A machine whose certificate comes by ACME, with the console on a domain of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DOMAIN, INSTALL, Site, wait_until
from .lab import Machine, Network, lines, machine

pytestmark = [pytest.mark.root, pytest.mark.slow]

CA, CONSOLE = "ca.test", "console.test"
DIRECTORY = f"https://{CA}/acme/local/directory"
ROOT = "/root/.local/share/caddy/pki/authorities/local/root.crt"
CADDYFILE = f"""\
{{
	skip_install_trust
}}
{CA} {{
	tls internal
	acme_server
}}
"""


@pytest.fixture(scope="module")
def authority(hub: Network) -> Iterator[Machine]:
    """A machine that plays the certificate authority."""
    with machine(hub, 14) as made:
        made.shell("apt-get install -qy --no-install-recommends caddy >/dev/null", timeout_s=120)
        made.shell(f"systemctl disable --now caddy; cat >/root/Caddyfile <<'END'\n{CADDYFILE}END")
        made.shell("systemd-run --unit=authority --setenv=HOME=/root"
                   " caddy run --config /root/Caddyfile")  # fmt: skip
        wait_until(
            "it has a root", lambda: made.run("test", "-s", ROOT, check=False).returncode == 0
        )
        yield made


@pytest.fixture(scope="module")
def site(
    hub: Network, unpacked: Path, authority: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with machine(hub, 15) as made:
        made.push(unpacked, "/root/relay")
        know(made, {CA: authority.address})
        know(authority, {DOMAIN: made.address, CONSOLE: made.address})
        made.push(authority.root / ROOT.lstrip("/"), "/root/their-root.crt")
        one = Site(hub, made, tmp_path_factory.mktemp("acme"))
        one.authority.write_text(authority.read(ROOT))
        one.install("--domain", DOMAIN, "--admin-domain", CONSOLE, "--email", "ops@example.com",
                    "--acme-directory", DIRECTORY, "--acme-root", "/root/their-root.crt",
                    "--yes")  # fmt: skip
        one.equip()
        yield one


def know(one: Machine, names: dict[str, str]) -> None:
    for name, address in names.items():
        one.shell(f"echo {address} {name} >>/etc/hosts")


def status(site: Site, domain: str, path: str) -> int:
    return int(site.far("request", "--domain", domain, "--path", path)["status"])


def test_a_request_goes_through_https_by_a_certificate_of_the_authority(site: Site):
    wait_until("the certificate is there", site.is_serving)

    assert site.far("stream", "--chunks", "3")["whole"]
    assert (
        "obtained successfully" in site.machine.shell("journalctl --no-pager -u relay-caddy").stdout
    )
    assert lines(site.machine.run("systemctl", "--failed", "--no-legend").stdout) == []


def test_the_console_answers_on_its_own_domain_alone_and_nothing_else_does_there(site: Site):
    wait_until("both domains answer", lambda: status(site, CONSOLE, "/health") == 200)

    assert status(site, CONSOLE, "/web/sign-in") == 200
    assert status(site, CONSOLE, "/admin/api/v1/keys") == 401
    for path in ("/web", "/web/sign-in", "/%77eb/sign-in", "//web/sign-in", "/x/../web/sign-in",
                 "/web%2fsign-in", "/./web/sign-in", "/WEB/sign-in", "/admin/api/v1/keys",
                 "/admin/api/v1/openapi.json", "//admin/api/v1/openapi.json"):  # fmt: skip
        answer = site.far("request", "--path", path)
        assert answer["status"] in (400, 404), path
        assert "password" not in answer["body"], path
    for path in ("/api/v1/models", "/v1/models", "/openai/claude/v1/models", "/ready"):
        assert status(site, CONSOLE, path) == 404, path


def test_http_leads_to_https(site: Site):
    said = site.hub.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}",
                        "--resolve", f"{DOMAIN}:80:{site.machine.address}",
                        f"http://{DOMAIN}/health").stdout  # fmt: skip

    assert said == f"308 https://{DOMAIN}/health"


def test_an_admin_domain_is_taken_away_by_none(site: Site):
    site.install("--admin-domain", "none")
    try:
        wait_until("the console is at the relay's domain",
                   lambda: status(site, DOMAIN, "/web/sign-in") == 200)  # fmt: skip
    finally:
        site.install("--admin-domain", CONSOLE)
    # What was not named stayed.
    assert DIRECTORY in site.machine.read("/etc/relay/appliance.env")
    assert "nothing to change" in site.machine.run(INSTALL).stdout


def test_wrong_passwords_of_the_console_ban_who_tries_them(site: Site):
    wait_until("it answers", lambda: status(site, CONSOLE, "/web/sign-in") == 200)
    tried = site.far("sign_in", "--domain", CONSOLE, "--times", "60", timeout_s=120)
    try:
        wait_until("the attacker is banned",
                   lambda: site.far("knock", "--ports", "443") == [])  # fmt: skip
    finally:
        site.machine.run("fail2ban-client", "unban", "--all")
    assert {"401", "429"} <= set(tried) <= {"401", "429", "TimeoutError", "ConnectionRefusedError"}

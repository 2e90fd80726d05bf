"""An account names a file whose text goes to its upstream: only identity tokens may be such."""

import os
from pathlib import Path

import pytest

from relay import oauth
from relay.accounts import AccountProblem, kinds
from relay.accounts.kinds import Kept

TOKEN = "header.claims.signature"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The allowed folder with a token in it, beside files that are no tokens."""
    made = tmp_path / "tokens"
    made.mkdir()
    (made / "token").write_text(TOKEN + "\n")
    (tmp_path / "secrets.env").write_text("JWT_SECRET=hidden\n")
    (tmp_path / "tokens-of-others").mkdir()
    (tmp_path / "tokens-of-others" / "token").write_text("hidden")
    return made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent as an identity token."""
    found: list[str] = []

    async def federate(base_url: str, assertion: str, **_: object) -> oauth.Grant:
        found.append(assertion)
        return oauth.Grant("t", "", 0)

    monkeypatch.setattr(oauth, "federate", federate)
    return found


async def renew(path: object, *folders: Path) -> None:
    options = {"federation_rule_id": "f", "organization_id": "o", "identity_token_file": str(path)}
    kept = Kept("https://api.anthropic.com", options=options)
    await kinds.table(None, folders)["federation"].renew(kept)


async def test_a_token_below_an_allowed_folder_is_sent(folder: Path, sent: list[str]):
    await renew(folder / "token", folder)
    assert sent == [TOKEN]


async def test_links_within_the_folder_are_followed_as_platforms_rotate_by_them(
    folder: Path, sent: list[str]
):
    (folder / "..2026").mkdir()
    (folder / "..2026" / "rotated").write_text(TOKEN)
    (folder / "..data").symlink_to("..2026")
    (folder / "rotated").symlink_to("..data/rotated")
    await renew(folder / "rotated", folder)
    assert sent == [TOKEN]


async def test_a_folder_that_is_a_link_itself_is_allowed(folder: Path, sent: list[str]):
    linked = folder.with_name("linked")
    linked.symlink_to(folder)
    await renew(linked / "token", linked)
    assert sent == [TOKEN]


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/environ", "/proc/self/../self/environ", "/proc/self/cmdline", "/etc/passwd",
        "/proc/self/root/etc/passwd", "{folder}/../secrets.env", "{folder}/./../secrets.env",
        "{parent}/secrets.env", "{parent}/tokens-of-others/token", "{folder}/link",
        "{folder}/linked/secrets.env", "{folder}", "{folder}/pipe", "{folder}/missing",
        "/dev/zero", "/dev/stdin", "token", "{folder}/a\0b", "{folder}/loop", "/missing",
    ],
)  # fmt: skip
async def test_no_other_file_is_sent(folder: Path, sent: list[str], path: str):
    (folder / "link").symlink_to(folder.parent / "secrets.env")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    with pytest.raises(AccountProblem):
        await renew(path.format(folder=folder, parent=folder.parent), folder)
    assert sent == []


async def test_without_the_setting_no_file_is_sent(folder: Path, sent: list[str]):
    with pytest.raises(AccountProblem, match=r"no folder of claude\.identityTokenFolders"):
        await renew(folder / "token")
    assert sent == []


async def test_a_file_outside_does_not_show_whether_it_exists(folder: Path):
    for path in ("/etc/passwd", "/etc/no-such-file", "/root/.ssh/id_rsa"):
        with pytest.raises(AccountProblem, match=r"no folder of claude\.identityTokenFolders"):
            await renew(path, folder)

"""The pages' HTML is valid: judged by html-validate, every page of the console in one go."""

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

from relay import backup

from ..clients.installed import NODE_MODULES, needed, node
from .conftest import Console
from .test_pages import PAGES, ids, used

pytestmark = pytest.mark.npm

# What the HTML standard asks for. What it leaves to taste is ours to choose: long titles, a space
# after an attribute's value, inputs without `type`, buttons in forms, which submit by themselves.
CONFIG = {
    "root": True,
    "extends": ["html-validate:standard", "html-validate:a11y"],
    "rules": {"no-implicit-button-type": "off", "no-implicit-input-type": "off"},
}


async def pages(console: Console) -> dict[str, str]:
    """Each page's text by its path, with something to show on it."""
    ctx = console.relay.ctx
    await ctx.keys.edit("alice", owner="team-a", tags=["x"], budgets={"daily": "5"}, daily=9)
    await ctx.owners.set("team-a", {"daily": "0.002", "total": "9"})
    await ctx.accounts.edit("main", budgets={"daily": "5"}, groups=["a"])
    backup.make_identities(ctx.settings)
    await ctx.store.upkeep.note_backup("made", "2026-01-02T03:04:05+00:00", "x")
    account, key = await ids(console)
    found = {}
    async with console.signed_in() as person:
        await used(person, console, console.relay.key)
        paths = (
            *PAGES, "/web/owners/team-a", "/web/keys?q=none", "/web/nothing",
            "/web/requests?status=999", "/web/requests?since=never", f"/web/keys/{key}",
            f"/web/keys/{key}/edit", f"/web/accounts/{account}", f"/web/accounts/{account}/edit",
        )  # fmt: skip
        for path in paths:
            if ".json" not in path:
                found[path] = (await person.get(path)).text
        (path,) = re.findall(
            r'"(/web/requests/req_[^"]+)"', (await person.get("/web/requests")).text
        )
        found[path] = (await person.get(path)).text
        made = await person.post("/web/keys/new", name="bob")
        found["POST /web/keys/new"] = made.text
        offered = await person.post("/web/own/second-factor", current="correct horse battery")
        found["POST /web/own/second-factor"] = offered.text
    async with console.person() as person:
        for path in ("/web/sign-in", "/web/my"):
            found[path] = (await person.get(path)).text
    return found


def judged(folder: Path, files: Iterable[str]) -> list[dict[str, Any]]:
    """What html-validate says of files in a folder."""
    judge = needed(NODE_MODULES / "html-validate" / "bin" / "html-validate.mjs")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    # Into a file: what goes into a pipe may be cut off when node ends.
    with open(folder / "said.json", "w") as said:
        command = [node(), judge, "--config", "config.json", "--formatter", "json", *files]
        subprocess.run(command, cwd=folder, stdout=said, timeout=60, check=False)
    found: list[dict[str, Any]] = json.loads((folder / "said.json").read_text())
    return found


async def test_every_page_is_valid_html(console: Console, tmp_path: Path):
    found = await pages(console)
    assert len(found) > 35
    names = {}
    for number, (path, text) in enumerate(found.items()):
        assert text.startswith("<!doctype html>"), path
        names[f"{number}.html"] = path
        (tmp_path / f"{number}.html").write_text(text)
    problems = {
        f"{names[Path(one['filePath']).name]}: {said['ruleId']}: {said['message']}"
        f" (line {said['line']})"
        for one in await trio.to_thread.run_sync(judged, tmp_path, names)
        for said in one["messages"]
    }
    assert not problems, "\n".join(sorted(problems))

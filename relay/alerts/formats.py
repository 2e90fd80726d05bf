"""The bodies of webhooks: plain JSON with a signature, and what Discord and Slack read."""

import hmac
import json
import re
from collections.abc import Mapping

from relay.alerts.texts import data, iso, told
from relay.settings import Webhook

# Discord's limit of `content`; Slack cuts at 40,000 and advises 4,000.
_MOST_DISCORD, _MOST_SLACK = 2000, 4000
_MARKDOWN = re.compile(r"([\\*_~|>#\[\]()-])")


def message(webhook: Webhook, alert_id: str, fields: Mapping[str, str]) -> bytes:
    """The body by which a webhook is told of an alert."""
    words = told(fields)
    if webhook.format == "discord":
        content = f"**{_for_discord(words.title)}**\n{_for_discord(words.text)}"
        body = {"content": _cut(content, _MOST_DISCORD), "allowed_mentions": {"parse": []}}
    elif webhook.format == "slack":
        text = f"*{_for_slack(words.title)}*\n{_for_slack(words.text)}"
        body = {"text": _cut(text, _MOST_SLACK)}
    else:
        body = {
            "id": alert_id,
            "event": fields["event"],
            "time": iso(fields["at"]),
            "title": words.title,
            "text": words.text,
            "data": data(fields),
        }
    return json.dumps(body, ensure_ascii=False).encode()


def headers(webhook: Webhook, alert_id: str, event: str, body: bytes, now_s: int) -> dict[str, str]:
    """The headers of a delivery; with a secret they sign the body at `now_s` (Unix time)."""
    found = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "relay-webhook",
    }
    if webhook.format != "json":
        return found
    found |= {"x-relay-event": event, "x-relay-event-id": alert_id}
    if webhook.secret is not None:
        found["x-relay-timestamp"] = str(now_s)
        found["x-relay-signature"] = signature(webhook.secret.reveal(), now_s, body)
    return found


def signature(secret: str, now_s: int, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 over timestamp, a dot and the body."""
    return f"v1={hmac.digest(secret.encode(), b'%d.' % now_s + body, 'sha256').hex()}"


def _for_discord(text: str) -> str:
    """`text` outside of `code` without its Markdown; names are whatever people made up."""
    parts = text.split("`")
    return "`".join(
        part if number % 2 else _MARKDOWN.sub(r"\\\1", part) for number, part in enumerate(parts)
    )


def _for_slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    # Discord counts UTF-16 units, so what is outside of the basic plane counts twice.
    units = text.encode("utf-16-le")
    if len(units) <= 2 * most:
        return text
    return units[: 2 * (most - 1)].decode("utf-16-le", errors="ignore") + "…"

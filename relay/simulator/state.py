"""What the simulated API keeps between messages: threads, containers, fallback credits.

All of it belongs to a workspace; each API key has one, in an organisation of its own unless a test
puts several into one.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from relay.simulator import answers
from relay.simulator.answers import ApiError, Json

_CONTAINER_LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API key belongs: its organisation and its workspace."""

    organization: str
    workspace: str


def place_of(key: str) -> Place:
    """An organisation and a workspace that no other key has."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return Place(f"org_sim{digest[:12]}", f"wrkspc_sim{digest[:12]}")


@dataclass(slots=True)
class Kept:
    """What one workspace holds; a method raises ApiError for what it does not hold."""

    _open_threads: dict[str, bool] = field(default_factory=dict)
    _containers: dict[str, Json] = field(default_factory=dict)
    _credits: set[str] = field(default_factory=set)

    def before(self, fields: Json, number: int) -> Json:
        """What a request's answer says of its container and its credit.

        Args:
            number: makes ids unique.
        """
        self._continue_thread(fields.get("thread"))
        made: Json = {}
        if fields.get("container") or _runs_code(fields.get("tools")):
            made["container"] = self._container(fields.get("container"), number)
        if fields.get("fallback_credit_token"):
            made["fallback_credit"] = self._credit(fields["fallback_credit_token"])
        return made

    def after(self, fields: Json, message_id: str, credit: str | None) -> None:
        """Remember what the answer made."""
        if fields.get("thread"):
            self._open_threads[message_id] = True
        if credit:
            self._credits.add(credit)

    def _continue_thread(self, thread: object) -> None:
        if not isinstance(thread, dict) or thread.get("type") != "continue":
            return
        before = str(thread.get("previous_message_id"))
        if before not in self._open_threads:
            raise ApiError(404, "not_found_error", "The thread was not found.", "thread_not_found")
        if not self._open_threads[before]:
            told = "The thread was continued from there already."
            raise ApiError(400, "invalid_request_error", told, "thread_already_continued")
        self._open_threads[before] = False

    def _container(self, asked: object, number: int) -> Json:
        given = asked.get("id") if isinstance(asked, dict) else asked
        if given and str(given) not in self._containers:
            raise answers.not_found(f"container: {given} was not found")
        container_id = str(given or f"container_sim{number:08d}")
        skills = asked.get("skills", []) if isinstance(asked, dict) else []
        self._containers[container_id] = {"id": container_id, "skills": skills,
                                          "expires_at": answers.now(_CONTAINER_LIFE)}  # fmt: skip
        return self._containers[container_id]

    def _credit(self, asked: object) -> Json:
        token = asked.get("token") if isinstance(asked, dict) else asked
        if str(token) in self._credits:
            return {"status": {"type": "redeemed"}}
        if isinstance(asked, dict) and asked.get("mode") == "best_effort":
            return {"status": {"type": "not_applied", "reason": "wrong_workspace"}}
        raise answers.invalid("fallback_credit_token: is not of this workspace")


def _runs_code(tools: object) -> bool:
    listed = tools if isinstance(tools, list) else []
    types = (str(tool.get("type")) for tool in listed if isinstance(tool, dict))
    return any(kind.startswith("code_execution") for kind in types)


def skills_in(fields: Json) -> Iterator[str]:
    """The custom skills that a request's container names."""
    container = fields.get("container")
    listed = container.get("skills") if isinstance(container, dict) else None
    for skill in listed if isinstance(listed, list) else []:
        if isinstance(skill, dict) and skill.get("type") != "anthropic":
            yield str(skill.get("skill_id"))


def files_in(fields: Json) -> Iterator[str]:
    """The files that a request's messages name, in their blocks and their tools' results."""
    blocks = [one.get("content") for one in fields["messages"] if isinstance(one, dict)]
    while blocks:
        block = blocks.pop()
        if isinstance(block, list):
            blocks += block
        if not isinstance(block, dict) or re.fullmatch(r".*tool_use", str(block.get("type"))):
            continue
        source = block.get("source")
        for holder in (block, source if isinstance(source, dict) else {}):
            if isinstance(holder.get("file_id"), str):
                yield holder["file_id"]
        blocks.append(block.get("content"))

"""The skills of the simulated API, with their versions."""

import io
import zipfile
from collections.abc import Callable

from relay.simulator import answers
from relay.simulator.answers import Json

_ANTHROPICS = ("docx", "pdf", "pptx", "xlsx")


def _shown(skill_id: str, version: str, source: str) -> Json:
    at = answers.now()
    return {"id": skill_id, "type": "skill", "display_name": skill_id, "source": source,
            "latest_version_id": version, "created_at": at, "updated_at": at}  # fmt: skip


class Skills:
    """Custom skills. A method that gets an id raises ApiError when there is no such skill."""

    def __init__(self) -> None:
        self._skills: dict[str, Json] = {}
        self._versions: dict[str, dict[str, Json]] = {}

    def make(self, body: bytes, number: int) -> Json:
        """A new skill of an upload. Raises ApiError when that has no SKILL.md."""
        if b"SKILL.md" not in body:
            raise answers.invalid("files: SKILL.md is required")
        skill_id = f"skill_sim{number:08d}"
        self._versions[skill_id] = {}
        self._skills[skill_id] = _shown(skill_id, "", "custom")
        self.add(skill_id, number)
        return self._skills[skill_id]

    def add(self, skill_id: str, number: int) -> Json:
        """Another version of a skill."""
        shown, version = self.get(skill_id), f"{number:016d}"
        made = {"id": version, "type": "skill_version", "skill_id": skill_id, "version": version,
                "created_at": answers.now()}  # fmt: skip
        self._versions[skill_id][version] = made
        shown["latest_version_id"] = version
        return made

    def listed(self, query: dict[str, str], is_own: Callable[[str], bool]) -> Json:
        """Anthropic's skills and one's own."""
        anthropics = [_shown(name, "latest", "anthropic") for name in _ANTHROPICS]
        own = [shown for skill_id, shown in self._skills.items() if is_own(skill_id)]
        found = {"anthropic": anthropics, "custom": own}.get(query.get("source", ""))
        return {"data": found or [*anthropics, *own], "has_more": False, "next_page": None}

    def get(self, skill_id: str) -> Json:
        if skill_id not in self._skills:
            raise answers.not_found(f"There is no skill {skill_id}.")
        return self._skills[skill_id]

    def delete(self, skill_id: str) -> Json:
        self.get(skill_id)
        if self._versions[skill_id]:
            raise answers.invalid("Delete all versions of the skill first.")
        del self._skills[skill_id], self._versions[skill_id]
        return {"id": skill_id, "type": "skill_deleted"}

    def versions(self, skill_id: str) -> Json:
        self.get(skill_id)
        data = [*self._versions[skill_id].values()]
        return {"data": data, "has_more": False, "next_page": None}

    def version(self, skill_id: str, version: str) -> Json:
        self.get(skill_id)
        if version not in self._versions[skill_id]:
            raise answers.not_found(f"There is no version {version} of {skill_id}.")
        return self._versions[skill_id][version]

    def drop(self, skill_id: str, version: str) -> Json:
        self.version(skill_id, version)
        del self._versions[skill_id][version]
        return {"id": version, "type": "skill_version_deleted"}

    def content(self, skill_id: str) -> bytes:
        """The skill's files as a ZIP."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{skill_id}/SKILL.md", "A skill of the simulator.")
        return packed.getvalue()

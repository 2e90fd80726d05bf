"""One person's request for a page: who they are, what they sent, and how they are answered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio
from jinja2 import Environment
from quart import Request, Response
from werkzeug.datastructures import MultiDict

import relay
from relay.context import Context
from relay.rules import Problem
from relay.users import ROLES, Session
from relay.web.access import Way, local_path
from relay.web.language import Language
from relay.web.overview_data import Live
from relay.web.static_files import StaticFile


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pages of a process share.

    Args:
        stop: set when the relay is about to end; what streams ends with it.
        searching: so many search the records at one time; others wait.
    """

    ctx: Context
    templates: Environment
    languages: Mapping[str, Language]
    files: Mapping[str, StaticFile]
    live: Live
    stop: trio.Event
    searching: trio.CapacityLimiter


@dataclass(slots=True)
class Visit:
    """A request, and everything that its page needs. `form` is empty unless something was sent.

    `is_known` tells whether the session could be looked up at all.
    """

    shared: Shared
    request: Request
    way: Way
    language: Language
    session: Session | None
    is_known: bool
    form: MultiDict[str, str] = field(default_factory=MultiDict)

    @property
    def ctx(self) -> Context:
        return self.shared.ctx

    @property
    def is_partial(self) -> bool:
        """Whether the page's own script asks for a part of it."""
        return "HX-Request" in self.request.headers

    @property
    def who(self) -> Session:
        """The session of a page that nobody opens without one."""
        if self.session is None:
            raise RuntimeError("A page without a role asked whose session it is.")
        return self.session

    def may(self, role: str) -> bool:
        return self.session is not None and self.session.user.may(role)

    def text(self, english: str, **values: object) -> str:
        """A text in the person's language."""
        return self.language.text(english, **values)

    def told(self, problem: Exception | str) -> str:
        """What went wrong, in the person's language, with the field's name before it."""
        if isinstance(problem, Problem) and problem.rule != str(problem):
            return f"{problem.field}: {self.language.told(problem.rule)}"
        return self.language.told(str(problem))

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one, made from a template."""
        page = self.rendered(template, **values)
        return Response(page, status, content_type="text/html; charset=utf-8")

    def rendered(self, template: str, **values: Any) -> str:
        """The text of a template."""
        return self.shared.templates.get_template(template).render(
            t=self.text,
            told=self.told,
            visit=self,
            roles=ROLES,
            version=relay.__version__,
            done=_DONE.get(self.request.args.get("done", ""), ""),
            **values,
        )

    def problem(self, status: int, title: str, sentence: str) -> Response:
        """A page that says what went wrong."""
        return self.page("problem.html", status, title=title, sentence=sentence)

    def redirect(self, path: str, done: str = "") -> Response:
        """Send the person to another page of the console, which says what was done.

        Args:
            done: a word of _DONE.
        """
        target = local_path(path)
        if done:
            target += f"{'&' if '?' in target else '?'}done={done}"
        return Response("", 303, {"location": target})

    def given(self, name: str) -> str:
        """A field of the form, without spaces around it; empty when it is not there."""
        return self.form.get(name, "").strip()

    def asked(self, name: str) -> str:
        """A word of the address' query."""
        return self.request.args.get(name, "").strip()

    @property
    def start(self) -> int:
        """Where the part of a list begins that was asked for."""
        return whole(self.asked("from"), 0)


def whole(text: str, otherwise: int) -> int:
    """A whole number as it was typed, or another one where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else otherwise


# What may be said after a change: never a text out of the address itself.
_DONE = {
    "saved": "Saved.",
    "enabled": "Enabled.",
    "disabled": "Disabled.",
    "removed": "Removed.",
    "reset": "Its failures are forgotten; it may serve again at once.",
    "signed_out": "Signed out.",
    "password": "The password is changed, and every other browser is signed out.",
    "added": "Added.",
    "compared": "The last days were compared.",
    "revived": "They wait to be delivered again.",
    "everybody_out": "Everybody is signed out.",
}

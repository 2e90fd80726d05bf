"""What a run found, in a line for the log, in JSON for programs, and as a sheet for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from relay import log
from relay.monitor.findings import CRITICAL, EXIT_STATUS, UNSEEN, Finding, worst


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found and did.

    Args:
        at: UTC.
        started: units that were started.
        told: names of the problems, or of their ends, that somebody was told of.
        note: what else is to be known of the run.
    """

    at: datetime
    findings: Sequence[Finding]
    started: Sequence[str] = ()
    told: Sequence[str] = ()
    note: str = ""

    @property
    def level(self) -> str:
        return worst(self.findings)

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.level]

    def to_json(self) -> dict[str, object]:
        """As programs and the console see it."""
        return {
            "level": self.level,
            "time": self.at.isoformat(timespec="seconds"),
            "findings": [one.to_json() for one in self.findings],
            "started": list(self.started),
            "told": list(self.told),
            "note": self.note,
        }


def failed(error: BaseException) -> Report:
    """The report of a run that broke off; its message is not repeated, it may hold anything."""
    text = f"The monitor itself failed: {type(error).__name__}."
    finding = Finding("monitor", CRITICAL, text, "report it with what the log says")
    return Report(datetime.now(UTC), [finding])


def line(report: Report) -> str:
    """One line for the log."""
    problems = [f"{one.name} is {one.level}: {one.text}" for one in report.findings
                if one.is_problem]  # fmt: skip
    unseen = sum(one.level == UNSEEN for one in report.findings)
    return "monitor " + log.fields(
        level=report.level,
        checks=len(report.findings),
        unseen=unseen or None,
        problems=" ".join(problems) or None,
        started=",".join(report.started) or None,
        told=",".join(report.told) or None,
        note=report.note or None,
    )


def sheet(report: Report) -> str:
    """Every finding for a person, what mends it below it, and the sum at the end."""
    width = max((len(one.name) for one in report.findings), default=0)
    rows = []
    for one in report.findings:
        rows.append(f"{one.level:<8}  {one.name:<{width}}  {log.clean(one.text)}")
        if one.mend:
            rows.append(f"{'':<8}  {'':<{width}}  -> {log.clean(one.mend)}")
    problems = sum(one.is_problem for one in report.findings)
    words = f"{problems} of {len(report.findings)} checks found a problem."
    rows += ["", words if problems else "All is well, as far as can be seen."]
    return "\n".join([*rows, *([report.note] if report.note else [])])

"""Alerts: what somebody is to be told, noticed once and delivered to webhooks.

Limits that fill up are noticed beside the hot path: the scripts of a request only put the scope
that was used into a set (1 to 4 SADDs in a script that runs anyway; no further round trip), and
every five seconds lua/marks.lua takes scopes out of it, compares what they have used with their
limits and, in the same step, adds the alert and remembers the mark. So each is told once,
whichever of the processes looks, and a request pays for no sum over the days of a month.

An alert goes into one stream. Each webhook reads it at its own pace and has its own queue, so a
dead one holds up nobody: lua/claim.lua hands out one alert at a time to one process, for longer
than a delivery may take. What a process leaves without an outcome is handed out again, so each is
delivered at least once; the id of the event tells a receiver of a repetition.
"""

from relay.alerts.deliveries import Sent
from relay.alerts.desk import Alerts, Delivered, Standing, WebhookProblem, shown
from relay.alerts.outbound import Outcome, post

__all__ = ["Alerts", "Delivered", "Outcome", "Sent", "Standing", "WebhookProblem", "post", "shown"]

"""The console: pages for those who run the relay, and for a key's holder.

Every page stands in the table of routes with the role that it needs. No page changes anything
by itself: it calls the functions that the command line calls.
"""

from relay.web.app import console
from relay.web.overview_data import Live

__all__ = ["Live", "console"]

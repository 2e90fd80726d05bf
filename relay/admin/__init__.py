"""The admin API under /admin/api/v1: what the command line and the console do, for programs.

One table of routes tells each path's role, what may be sent and what is answered; the OpenAPI
document is made of it, so it says what the code does. No route changes anything by itself: each
calls the functions that the command line and the console call.
"""

from relay.admin.app import AdminApi

__all__ = ["AdminApi"]

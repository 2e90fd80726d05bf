"""Relay: one door to the Claude API for many keys and many accounts.

This file carries the version and nothing else; it must exist, or relay.py beside the folder
would be imported in the folder's place.
"""

__version__ = "0.1.0"

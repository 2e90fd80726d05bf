"""The APIs that clients speak; each knows its own fields, events and shapes."""

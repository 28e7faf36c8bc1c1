"""Watches the stream: counts by the minute, live sessions, key events."""

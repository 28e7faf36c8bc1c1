"""Reacts to key events: an alert, a push message, once for each."""

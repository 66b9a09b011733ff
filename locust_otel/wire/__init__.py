"""Codec of reports of requests, of messages between plugin and exporter, and of the intervals of a run record.

Values are cumulative, so a lost, repeated or late report does no harm. Received data is checked before use. The plugin
and the exporter use all of it, `review` reads records with it. This room may import `core` only.
"""

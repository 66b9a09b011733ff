"""The codec: reports of requests, messages between the plugin and the exporter, and the intervals of a run record.

Values are cumulative, so a report that is lost, repeated or late does no harm. What arrives is checked before it is
used. The plugin and the exporter write and read it; `review` reads records with it. It may import `core` only.
"""

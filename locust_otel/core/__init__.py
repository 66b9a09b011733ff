"""Words that all rooms share: the metric catalogue, histograms, snapshots, events, errors, YAML files, settings.

Nothing here runs by itself, and nothing here knows Locust. Each room may import this one; it imports none.
"""

"""Values that all rooms share: the metric catalogue, histograms, snapshots, events, errors, YAML files, settings.

The modules start nothing and do not import Locust. Every room may import this room, which imports no other room.
"""

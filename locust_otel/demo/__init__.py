"""The demo: a shop on loopback with faults to order, and a load test that runs against it."""

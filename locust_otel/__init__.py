"""Live, exact SLO telemetry from Locust load tests."""

"""What runs inside Locust."""

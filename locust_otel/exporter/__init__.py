"""What runs beside Locust."""

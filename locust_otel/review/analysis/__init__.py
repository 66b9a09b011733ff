"""How a service gives way under load."""

"""The commands of `locust-otel`, a module each: `add_to` adds its flags, `run` does it."""

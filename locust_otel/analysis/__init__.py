"""Which pattern a service degrades in, and what the saying rests on. Needs the extra `locust-otel[analysis]`."""

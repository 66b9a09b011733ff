"""What holds for every test."""

# First of all imports: it patches sockets and locks, and what was imported before keeps the unpatched ones.
import locust  # noqa: F401

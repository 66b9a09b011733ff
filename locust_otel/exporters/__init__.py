"""What is recorded goes out: formats, and the endpoint that serves them."""

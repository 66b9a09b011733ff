"""Shoppers who log in, browse, fill a cart and check out: one user class, tasks with weights and tags.

Shows a login whose token all later requests carry, one request name for many URLs, and a checkout that decides which
answers are failures. Start the demo shop, then run it either way:

    python -m locust_otel.demo.shop --port 8765
    locust-otel run -f locustfiles/webshop.py --headless --users 50 --spawn-rate 10 --run-time 2m
    locust -f locustfiles/webshop.py
"""

import random
import time

from locust import HttpUser, between, tag, task

import locust_otel

locust_otel.register()


class WebshopUser(HttpUser):
    """Browses most of the time and sometimes buys."""

    host = "http://127.0.0.1:8765"
    wait_time = between(1, 5)
    items = 0  # in the cart, as far as the shopper knows

    def on_start(self) -> None:
        """Log in, and retry until it works: without a token every request would fail."""
        while not self.log_in():
            time.sleep(1)

    def log_in(self) -> bool:
        """Send the token with every later request; return whether there is one."""
        response = self.client.post("/api/login", json={"username": "shopper", "password": "locust"})
        if not response.ok:
            return False
        self.client.headers["Authorization"] = f"Bearer {response.json()['token']}"
        return True

    @tag("browse")
    @task(5)
    def browse_products(self) -> None:
        """Look at the list."""
        self.client.get("/api/products")

    @tag("browse")
    @task(3)
    def view_product(self) -> None:
        """Look at one product; `name` makes one series of a thousand URLs."""
        self.client.get(f"/api/products/{random.randint(1, 1000)}", name="/api/products/[id]")

    @tag("purchase")
    @task
    def add_to_cart(self) -> None:
        """Put something into the cart."""
        response = self.client.post("/api/cart", json={"product_id": random.randint(1, 1000), "quantity": 1})
        self.items += response.ok

    @tag("purchase")
    @task
    def checkout(self) -> None:
        """Order the content of the cart; if the shop has lost it, that is a failure with its own name."""
        if not self.items:
            self.add_to_cart()
        self.items = 0
        with self.client.post("/api/orders", catch_response=True) as response:
            if response.status_code == 201:
                response.success()
            elif response.status_code == 409:
                response.failure("Cart was empty")
            else:
                response.failure(f"Unexpected: {response.status_code}")

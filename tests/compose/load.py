"""Payments without a pause, each under a key of its own, over kept connections: what a fault costs its users."""

import http.client
import json
import threading
import time
import uuid


class Load:
    """Runs while its `with` block does. A failure is no answer, a cut answer, or any status but 201."""

    def __init__(self, host, port, clients=8):
        self.host, self.port, self.clients = host, port, clients
        self.failures = []  # (seconds since the start, what)
        self.durations = []
        self.stopping = threading.Event()

    def __enter__(self):
        self.started = time.monotonic()
        self.threads = [threading.Thread(target=self._client, daemon=True) for _ in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(40)

    def elapsed(self):
        return time.monotonic() - self.started

    def failed_after(self, seconds):
        return [failure for failure in self.failures if failure[0] > seconds]

    def summary(self):
        worst = max(self.durations, default=0)
        return f"{len(self.failures)} of {len(self.durations)} failed, slowest {worst:.2f} s"

    def _client(self):
        connection = None
        while not self.stopping.is_set():
            begun = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection(self.host, self.port, timeout=30)
                payment = {"consultation_id": "c-load", "amount_cents": 100, "currency": "EUR"}
                connection.request("POST", "/api/payment", json.dumps(payment), {"Idempotency-Key": uuid.uuid4().hex})
                response = connection.getresponse()
                response.read()
                what = None if response.status == 201 else str(response.status)
            except (OSError, http.client.HTTPException) as error:
                connection, what = None, repr(error)
            self.durations.append(time.monotonic() - begun)
            if what:
                self.failures.append((begun - self.started, what))
                # A client that is refused waits, as the page does; it doesn't hammer.
                time.sleep(0.05)

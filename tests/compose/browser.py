"""A person at the patients' page: Chromium without a window, driven over a pipe by its own protocol."""

import base64
import json
import os
import subprocess
import tempfile
import time


class Browser:
    FLAGS = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-component-update",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        "--window-size=800,860",
        "--remote-debugging-pipe",
    ]

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Chromium reads commands from its descriptor 3 and answers on its descriptor 4; each message ends with a zero
        # byte.
        their_input, our_output = os.pipe()
        our_input, their_output = os.pipe()
        command = ["chromium", *self.FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" 3<&{their_input} 4>&{their_output}', "sh", *command],
            pass_fds=[their_input, their_output],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_input)
        os.close(their_output)
        self.reader, self.writer = os.fdopen(our_input, "rb"), os.fdopen(our_output, "wb")
        self.buffer, self.number, self.session, self.complaints = b"", 0, None, []
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._notice(answer)

    def _read(self):
        while b"\0" not in self.buffer:
            chunk = self.reader.read1(65536)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self.buffer += chunk
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def _notice(self, event):
        """What a console would show: errors of the script, and what the content security policy refused."""
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(event["params"]["exceptionDetails"].get("text", "exception"))
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.complaints.append(event["params"]["entry"]["text"])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", expression))
        return result["result"].get("value")

    def wait_for(self, expression, seconds=20):
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"not within {seconds} s: {expression}; the page says: {self.evaluate('document.body.innerText')!r}"
                )
            time.sleep(0.1)
        return value

    def press(self, key, code=None, text=None):
        """A key, as the keyboard sends it: whoever has no mouse uses the page so."""
        params = {"key": key, "code": code or key}
        if text:
            params["text"] = text
        if key in KEY_CODES:
            params["windowsVirtualKeyCode"] = KEY_CODES[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", **params)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code or key)

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))


KEY_CODES = {"Tab": 9, "Enter": 13, "ArrowDown": 40}

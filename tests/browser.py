"""Headless Chromium, driven by its debugging pipe."""

import json
import os
import shutil
import subprocess
import time

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Browser:
    """Headless Chromium; commands and answers are JSON with a zero byte behind.

    Attributes:
        events: list of what the page told by itself, in the domains that were enabled.
    """

    def __init__(self, profile):
        command = next(filter(None, map(shutil.which, BROWSERS)), None)
        assert command, f"this test needs one of {', '.join(BROWSERS)}"
        there, self.commands = os.pipe()
        self.answers, back = os.pipe()
        options = f"--headless --no-sandbox --remote-debugging-pipe --window-size=1100,860 {profile}"
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command} {options} 3<&{there} 4>&{back}"],
            pass_fds=[there, back],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self.stream, self.number, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method, **parameters):
        """Send a command and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.stream:
                part = os.read(self.answers, 1 << 20)
                assert part, "the browser ended"
                self.stream += part
            answer, self.stream = self.stream.split(b"\0", 1)
            answer = json.loads(answer)
            if "method" in answer:
                self.events.append(answer)
            if answer.get("id") == self.number:
                assert "result" in answer, answer
                return answer["result"]

    def listen(self):
        """Let the page tell of errors and requests by itself."""
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")

    def complaints(self):
        """Return what the console told of errors, and what the page did not catch."""
        found = {
            "Runtime.consoleAPICalled": lambda told: told["type"] in ("error", "assert"),
            "Runtime.exceptionThrown": lambda told: True,
            "Log.entryAdded": lambda told: told["entry"]["level"] == "error",
        }
        return [
            each["params"]
            for each in self.events
            if found.get(each["method"], lambda _: False)(each["params"])
        ]

    def requests(self):
        """Return the addresses that were asked for."""
        asked = [each["params"] for each in self.events if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in asked]

    def evaluate(self, expression):
        """Return the value of an expression of the page, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression, seconds=60):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, self.evaluate("document.body?.innerText")
            time.sleep(0.1)

    def press(self, key, code=None):
        """Press and release a key, for instance "Tab" or "ArrowRight"."""
        numbers = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
        numbers |= {"ArrowDown": 40, "Home": 36, "End": 35}
        told = {"key": key, "code": code or key, "windowsVirtualKeyCode": numbers[key]}
        text = {" ": {"text": " "}, "Enter": {"text": "\r"}}.get(key, {})
        self.call("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.commands)
        os.close(self.answers)

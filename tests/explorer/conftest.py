"""Chromium for tests of pages: the DevTools protocol over two pipes, without further packages."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 60  # most time for an answer


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, program, folder):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser reads commands from the descriptor 3 and writes answers to 4.
        command = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
        ]
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", program, *options, "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self.events, self._session = b"", 0, [], None
        target = next(
            target
            for target in self.call("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        )
        options = {"targetId": target["targetId"], "flatten": True}
        self._session = self.call("Target.attachToTarget", **options)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The answer to a command; events that come first are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self, deadline):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no answer of the browser in {SECONDS} seconds"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has ended"
            self._buffer += part
        content, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(content)

    def open(self, path, *, width=1280, height=900, theme="light"):
        """Open a page of the disk, and wait until its script is ready."""
        self.events.clear()
        self.resize(width, height)
        self.theme(theme)
        self.call("Page.navigate", url=path.absolute().as_uri())
        deadline = time.monotonic() + SECONDS
        while not self.run("window.explorer?.ready === true"):
            assert time.monotonic() < deadline, self.errors()
            time.sleep(0.02)

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def theme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def run(self, expression):
        """The value of an expression of JavaScript."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def frame(self):
        """Wait until the page has drawn what changed."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def pointer(self, kind, x, y, **options):
        options = {"button": "left", "clickCount": 1, "buttons": 1, **options}
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **options)

    def click(self, x, y):
        self.pointer("Pressed", x, y)
        self.pointer("Released", x, y, buttons=0)
        self.frame()

    def key(self, name, *, shift=False, code=None):
        options = {"key": name, "modifiers": 8 if shift else 0}
        if code is not None:
            options["windowsVirtualKeyCode"] = code
        if len(name) == 1:
            options["text"] = name
        self.call("Input.dispatchKeyEvent", type="keyDown", **options)
        self.call("Input.dispatchKeyEvent", type="keyUp", **options)
        self.frame()

    def place(self, selector):
        """The middle of an element in the window, which scrolls to it."""
        return self.run(
            f"""(() => {{
              const element = document.querySelector({json.dumps(selector)});
              element.scrollIntoView({{block: "center", behavior: "instant"}});
              const box = element.getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )

    def requests(self):
        """Addresses that the page asked for, without the page itself and its own data."""
        self.call("Page.getNavigationHistory")  # all earlier events come first
        found = [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in found if not url.startswith("data:")][1:]

    def errors(self):
        """Errors of the page's scripts and of its policy."""
        self.call("Page.getNavigationHistory")
        return [
            event["params"]
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (
                event["method"] == "Log.entryAdded"
                and event["params"]["entry"]["level"] == "error"
            )
        ]

    def picture(self, path, *, whole=False):
        """Write a picture of the window, or of the whole page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self):
        os.close(self._write)
        self.process.terminate()
        self.process.wait(SECONDS)
        os.close(self._read)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium for all tests of pages, or a skip where there is none."""
    if sys.platform == "win32":
        pytest.skip("the descriptors of the browser need a POSIX shell")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is in the path")
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()

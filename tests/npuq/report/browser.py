"""A headless Chromium, spoken to over two pipes in its own protocol: what a page asks for, says and looks like."""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests import zoo

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-zygote",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
UNPACK = """
const fs = require("fs"), [packed, target] = process.argv.slice(1);
fs.writeFileSync(target, require("zlib").brotliDecompressSync(fs.readFileSync(packed)));
"""
"""Python's own library has no brotli; node's has."""

WIRE = """
import os, sys
for number, pipe in zip((3, 4), [os.dup(int(given)) for given in sys.argv[1:3]]):
    os.dup2(pipe, number)
    os.set_inheritable(number, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The protocol's numbers: the browser reads 3 and writes 4. Copies come first, since either may be taken."""


def find() -> tuple[Path, Path | None]:
    """A Chromium and the folder of libraries it wants: the machine's own, else the zoo's; raises ZooError."""
    own = next((path for name in NAMES if (path := shutil.which(name))), None)
    if own is not None:
        return Path(own), None
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise zoo.UnavailableError(f"none of {', '.join(NAMES)} is installed, and the zoo's runs on Linux x86_64 alone")
    packed = zoo.path("chromium")
    folder = packed.parent / "unpacked"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=packed.parent) as scratch:
            made = unpack(packed, Path(scratch) / "made")
            try:
                made.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
    return folder / "chromium", folder / "lib"


def unpack(packed: Path, folder: Path) -> Path:
    """Unpack the program and its libraries."""
    folder.mkdir()
    for name in ("chromium", "al2023.tar"):
        subprocess.run(["node", "-e", UNPACK, str(packed / f"{name}.br"), str(folder / name)], check=True)
    with tarfile.open(folder / "al2023.tar") as archive:
        archive.extractall(folder, filter="data")
    (folder / "chromium").chmod(0o755)
    return folder


class Page:
    """One open page: commands go in, answers and events come out."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)
        self.count, self.rest = 0, b""
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and wait for its answer; events that come first are kept."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writing.write(json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Load a file in a window of a size and wait until it stands."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(self._receive())

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        """The events of these kinds since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen to a PNG file."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Let go of the pipes, which ends the browser."""
        self.reading.close()
        self.writing.close()

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = self.reading.read(1 << 16)
            assert more, "the browser has gone"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browser() -> Iterator[Page]:
    """Start a Chromium of its own profile and stop it in the end."""
    program, libraries = find()
    commands, ours = os.pipe(), os.pipe()

    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = (*FLAGS, f"--user-data-dir={profile}")
        process = subprocess.Popen(
            [*(sys.executable, "-c", WIRE, str(commands[0]), str(ours[1]), str(program)), *flags, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=(commands[0], ours[1]),
        )
        os.close(commands[0])
        os.close(ours[1])
        try:
            with closing(Page(ours[0], commands[1])) as page:
                yield page
        finally:
            process.terminate()
            process.wait(timeout=20)

"""Time of the explorer in a browser: first paint, and what a keystroke costs its main thread.

    python -m benchmarks.explorer

Needs Chromium. First paint is the browser's own entry "first-contentful-paint", by the clock, so
that it says little on a busy machine. A keystroke is sent through the browser's protocol; its cost
is the growth of the browser's own sum of processor time over all tasks of the page until the
picture is there, less that of as many waits without a key.
"""

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

from analyses.explorer.__main__ import main as write_page

LOADS, KEYS = 7, 60
Call = Callable[..., Awaitable[dict[str, Any]]]
DRAWN = "new Promise((r) => requestAnimationFrame(() => setTimeout(() => r(0))))"


async def measure(page: Path, profile: str) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("chromium is not installed")
    argv = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [*argv, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        listening = next(line for line in process.stderr if "DevTools listening on" in line)
        port = listening.split("127.0.0.1:")[1].split("/")[0]
        await use(page, port)
    finally:
        process.kill()
        process.wait()


async def use(page: Path, port: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
        address = next(t for t in json.load(answer) if t["type"] == "page")["webSocketDebuggerUrl"]
    socket = await websocket_connect(address)
    sent = 0

    async def call(method: str, **params: Any) -> dict[str, Any]:
        nonlocal sent
        sent += 1
        await socket.write_message(json.dumps({"id": sent, "method": method, "params": params}))
        while True:
            message = json.loads(str(await socket.read_message()))
            if message.get("id") == sent:
                return message["result"]

    async def evaluate(expression: str) -> Any:
        found = await call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return found["result"].get("value")

    await call("Performance.enable", timeDomain="threadTicks")
    paints = []
    for _ in range(LOADS):
        await call("Page.navigate", url="about:blank")
        await call("Page.navigate", url=page.resolve().as_uri())
        paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        while (at := await evaluate(paint)) is None:
            await asyncio.sleep(0.2)
        paints.append(float(at))
    await asyncio.sleep(1.0)
    print(f"first paint: median {statistics.median(paints):.0f} ms, most {max(paints):.0f} ms")
    print("one network:", await keystrokes(call, evaluate))
    await evaluate("document.querySelector('.beside button').click()")
    print("two networks:", await keystrokes(call, evaluate))


PARTS = {"TaskDuration": "all", "ScriptDuration": "script", "RecalcStyleDuration": "style"}
PARTS |= {"LayoutDuration": "layout"}


async def keystrokes(call: Call, evaluate: Callable[[str], Awaitable[Any]]) -> str:
    async def spent() -> dict[str, float]:
        metrics = (await call("Performance.getMetrics"))["metrics"]
        return {m["name"]: 1e3 * m["value"] for m in metrics if m["name"] in PARTS}

    async def cost(key: str | None) -> dict[str, float]:
        before = await spent()
        if key is not None:
            code = {"key": key, "text": key, "code": f"Digit{key}"}
            await call("Input.dispatchKeyEvent", type="keyDown", **code)
        await evaluate(DRAWN)
        after = await spent()
        return {name: after[name] - before[name] for name in PARTS}

    keys, waits = [], []
    for i in range(KEYS):
        if i % 10 == 0:
            await evaluate("document.querySelector('[data-cell=a9]').focus()")
        keys.append(await cost(str((7 * i + 3) % 10)))
        waits.append(await cost(None))
    warm = keys[10:]
    medians = {
        word: statistics.median(k[name] for k in warm) - statistics.median(w[name] for w in waits)
        for name, word in PARTS.items()
    }
    tail = sorted(k["TaskDuration"] for k in warm)[int(0.9 * len(warm))]
    said = ", ".join(f"{word} {value:.1f}" for word, value in medians.items())
    return f"a keystroke in ms, median: {said}; nine of ten under {tail:.1f}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        write_page(["262p", "--pairs", "0", "--out", str(page), "--quiet"])
        asyncio.run(measure(page, f"{folder}/profile"))


if __name__ == "__main__":
    main()

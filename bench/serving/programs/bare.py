"""An ASGI application that computes nothing: the most that any framework on ASGI can reach here."""

import sys
from typing import Any

import uvicorn

BODY = b'{"predictions":[0]}'


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, answer a constant."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    uvicorn.run(
        application, port=int(sys.argv[2]), loop="uvloop", http="httptools", lifespan="off", access_log=False,
        log_level="error",
    )  # fmt: skip

#!/usr/bin/env python3
"""`weed server -dir=DIR -s3.port=PORT -s3.config=FILE`, by versitygw."""

import json
import os
import sys


def main() -> None:
    """Become the server."""
    given = dict(word.lstrip("-").split("=", 1) for word in sys.argv[2:] if "=" in word)
    with open(given["s3.config"], encoding="utf-8") as file:
        credentials = json.load(file)["identities"][0]["credentials"][0]
    folders = [os.path.join(given["dir"], name) for name in ("buckets", "metadata")]
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    os.environ["ROOT_ACCESS_KEY"] = credentials["accessKey"]
    os.environ["ROOT_SECRET_KEY"] = credentials["secretKey"]
    command = ["versitygw", "--port", f":{given['s3.port']}", "posix", "--sidecar", folders[1], folders[0]]
    os.execvp("versitygw", command)  # noqa: S606 - it becomes the server


if __name__ == "__main__":
    main()

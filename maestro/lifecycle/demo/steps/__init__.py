"""One step of the story a file; each exposes `run(stage) -> Outcome`."""

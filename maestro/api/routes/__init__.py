"""One router a domain; each module exposes `router`."""

"""The data port: HTTP/1.1 on httptools below ASGI, with requests of one moment answered as one batch.

- `connection` reads requests off a socket and writes their answers in order; it trusts nothing that a caller sends (`head` refuses what could be read in
  two ways). `wire` writes answers, `door` owns the connections of a process and ends them gracefully.
- `dispatch` sends a request to where it is answered: `lane` (rows of numbers for a model that answers in microseconds: one vectorised call for all
  that arrived in the same turn of the event loop), the data plane (everything else that infers), or the control application through `bridge`.
- With several processes `parent` owns the graph, the evidence and the control routes, and `worker` is a door with replicas of what the parent has loaded;
  they speak over `channel`.

Law: a request runs wholly on one revision, and what the lane answers is what the data plane would have answered; whatever the lane finds odd it hands
to the data plane, one request at a time.
"""

"""The model server: a data plane (runtimes, graph, evidence) with protocol adapters on top.

Law: `dataplane`, `graph`, `runtimes` and what they need know nothing of HTTP; `protocols`, `app` and `main` hold no decision. A faster
inside replaces the former without touching the latter.
"""

"""Protocol adapters: each turns its own form into a request of the data plane and the answer back. They hold no decision."""

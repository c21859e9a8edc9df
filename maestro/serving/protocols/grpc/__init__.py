"""Open Inference Protocol, version 2, over gRPC: the same data plane behind another door."""

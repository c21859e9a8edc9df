"""What the training scripts run: each a program of its own that needs no cluster, no server and no network, and that runs as a job, too."""

"""Data sets, features, the job orchestrator, the training pipeline and the hyperparameter search."""

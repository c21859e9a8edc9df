"""Hyperparameter search: spaces, studies that know what they cost, selection among several objectives."""

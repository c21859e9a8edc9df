"""The five steps from features to a logged model: load, preprocess, train, evaluate, register."""

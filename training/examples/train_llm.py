"""Fine-tune a causal language model (Hugging Face) and tell its perplexity."""

import sys

try:
    from maestro.training.examples.train_llm import main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())

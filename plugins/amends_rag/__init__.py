"""Ground a model in documents: at its input, inside it and at its output, with erasure that reaches the index."""

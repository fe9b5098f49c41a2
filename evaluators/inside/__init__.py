"""The model stage: a candidate is put inside a language model, and what it says is compared with the dense model."""

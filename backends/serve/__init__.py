"""The inference server: one process that holds a model, for any number of clients."""

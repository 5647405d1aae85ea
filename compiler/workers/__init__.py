"""Work that may hang or crash, in processes that can be given up; knows nothing of what the work is."""

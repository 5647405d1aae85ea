"""The embedded demo model and how it was trained."""

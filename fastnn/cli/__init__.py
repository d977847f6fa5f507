"""The command line: one file a verb. Whatever needs NumPy is imported inside functions."""

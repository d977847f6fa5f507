"""The command line: one file a verb. Modules here import the rest of fastnn inside functions."""

"""Measurements: `make bench` runs the test_*.py here and then `fastnn bench`."""

"""Throughput of fastnn and of its peers on one machine: same work, one clock, one record."""

"""What people look at: figures of a run, pictures of it, and a report of all."""

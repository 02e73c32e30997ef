"""What networks learn from: one file per method, and the parts that methods share."""

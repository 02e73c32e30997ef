"""Studies: many runs that answer one question, planned and estimated."""

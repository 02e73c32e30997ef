"""A report as one file of HTML, with pictures that answer the pointer."""

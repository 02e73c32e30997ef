"""A report as one HTML file with interactive charts."""

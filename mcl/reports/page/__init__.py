"""A report as one HTML file with interactive charts. `mcl.reports.page.build` makes it."""

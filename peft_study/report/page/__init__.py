"""The report's page: a self-contained HTML file, with files of samples beside it that it loads on demand."""

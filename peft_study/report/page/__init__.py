"""The page of the report: one file without a network, and files of samples beside it that it reads when asked."""

"""Problems, comparators and verdicts. This package knows the expected answers, the sandbox does not."""

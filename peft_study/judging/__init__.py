"""Problems, their tests taken apart, comparators and verdicts: this side knows the answers."""

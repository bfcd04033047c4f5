"""Reports: the paper's tables, figures and claims, from its numbers and from results of cells."""

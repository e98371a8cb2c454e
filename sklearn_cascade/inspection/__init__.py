"""Reports, measured costs, drift monitoring and displays of cascades and ensembles."""

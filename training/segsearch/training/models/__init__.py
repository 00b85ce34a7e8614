"""Networks assembled from layers."""

"""Fuzz targets: each parser of what comes from outside, fed with any bytes."""

"""What is known about CSV files: columns, cells, layouts, and which layout a file has."""

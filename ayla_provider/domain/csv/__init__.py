"""What is known of CSV files: columns, cells, layouts, and which layout a file has."""

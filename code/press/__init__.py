"""What prints the book: quote check, chapter runner, order check and cell check."""

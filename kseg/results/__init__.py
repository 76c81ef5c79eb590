"""What is made of predictions: files to look at, to measure and to put on a map."""

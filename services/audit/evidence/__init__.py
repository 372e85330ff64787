"""Evidence: one incident's timeline in a bundle that an outsider checks without us, and the program that checks it."""

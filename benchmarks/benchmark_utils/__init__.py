"""What the solvers and the data sets share. The folder has the name that benchopt expects."""

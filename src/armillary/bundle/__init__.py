"""One file with all that a closed network lacks: `invoke bundle` writes it, `invoke up --bundle` uses nothing else."""

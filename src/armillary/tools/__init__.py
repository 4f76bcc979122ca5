"""One file per outside program; a subprocess starts nowhere else."""

"""Runs as Slurm jobs, submitted through submitit.

A launch writes one submission (`submissions/<n>.json`) and, for each job array, a directory `arrays/<n>-<k>/` whose
`manifest.json` says which task of the array executes which runs. The manifest holds a token that is the name of the Slurm job:
whatever happened to `sbatch`, to its answer or to the launcher, Slurm can be asked by that name whether the array exists.
"""

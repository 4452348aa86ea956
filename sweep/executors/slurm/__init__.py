"""Runs as Slurm jobs, submitted through submitit.

A launch writes one submission (`submissions/<n>.json`) and, for each job array, a folder `arrays/<n>-<k>/` whose `manifest.json`
says which task of the array executes which runs. The manifest carries a token that is the name of the Slurm job: whatever became
of `sbatch`, of its answer or of the launcher, Slurm can be asked by that name whether the array exists.
"""

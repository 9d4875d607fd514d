"""A run: the directory that holds all that a training was and gave."""

from ppgen.runs.fit import fit
from ppgen.runs.hub import pull, push
from ppgen.runs.load import load
from ppgen.runs.run import Run
from ppgen.runs.samples_file import save_embedding, save_samples

__all__ = ["Run", "fit", "load", "pull", "push", "save_embedding", "save_samples"]

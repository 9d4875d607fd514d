"""The objectives, one file a bound, a gradient estimator or a training principle."""

if __name__ != "ppgen.inference":
    raise ImportError(
        f"expected the import name 'ppgen.inference', got {__name__!r}: use 'import ppgen.inference'."
    )

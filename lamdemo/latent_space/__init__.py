"""The space of latent actions, to look at and to play: an atlas of steps, arithmetic, directions, sampling.

Nothing here needs a label of a video or a library beyond the package's own; building an atlas also needs
umap-learn and scikit-learn (``pip install lamdemo[atlas]``).
"""

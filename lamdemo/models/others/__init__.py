"""Latent action models of others whose weights are public: the part of each that reads latents, a file each.

They are written anew from the published architectures, with the parameter names of the published weights. What
applies a latent to a picture is left out: nothing here can be played.
"""

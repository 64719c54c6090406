"""What a checkpoint brings beside its weights: how each part is made, and whether it still belongs to them."""

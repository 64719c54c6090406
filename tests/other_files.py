"""Models of others with random weights, in the layouts of their published files.

Names and shapes are written down here from the public sources that `lamdemo.models.others` names, and not taken from
our modules, so that a module whose parameters are called otherwise does not load.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

TINY_ADAWORLD = {"width": 32, "latent": 6, "patch": 32, "blocks": 2, "heads": 2}
TINY_VILLAX = {
    "resolution": 28,
    "patch_size": 14,
    "d_t": 4,
    "encoder_depth": 2,
    "encoder_embed_dim": 32,
    "encoder_n_heads": 2,
    "map_heads": 4,
    "num_learned_tokens": 2,
    "action_latent_dim": 8,
    "n_codes": 5,
}


def _linear(name: str, out: int, given: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, given)} | ({f"{name}.bias": (out,)} if bias else {})


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def adaworld_shapes(
    width: int = 1024, latent: int = 32, patch: int = 16, blocks: int = 16, heads: int = 16, freqs: bool = True
) -> Shapes:
    """``state_dict`` of ``lam.ckpt``: encoder and decoder of the same size, as the published settings have it."""
    pixels = 3 * patch**2
    found: Shapes = {"action_prompt": (1, 1, 1, pixels)}
    for part, given, out, attentions in (
        ("encoder", pixels, width, ("spatial_attn", "temporal_attn")),
        ("decoder", width, pixels, ("spatial_attn",)),
    ):
        found |= _norm(f"{part}.ffn.0", given) | _linear(f"{part}.ffn.1", width, given) | _norm(f"{part}.ffn.2", width)
        for i in range(blocks):
            block = f"{part}.transformer_blocks.{i}"
            for attention in attentions:
                for to in ("to_q", "to_k", "to_v"):
                    found |= _linear(f"{block}.{attention}.{to}", width, width, bias=False)
                found |= _linear(f"{block}.{attention}.to_out.0", width, width)
            if freqs and "temporal_attn" in attentions:
                found[f"{block}.temporal_attn.rotary_embedding.freqs"] = (width // heads // 2,)
            found |= _linear(f"{block}.ffn.0", 4 * width, width) | _linear(f"{block}.ffn.3", width, 4 * width)
            for k in range(len(attentions) + 1):
                found |= _norm(f"{block}.norm{k + 1}", width)
        found |= _linear(f"{part}.out", out, width)
    found |= _linear("fc", 2 * latent, width) | _linear("patch_up", width, pixels) | _linear("action_up", width, latent)
    return {f"lam.{name}": shape for name, shape in found.items()}


def villax_shapes(
    resolution: int = 224,
    patch_size: int = 14,
    d_t: int = 8,
    encoder_depth: int = 12,
    encoder_embed_dim: int = 768,
    encoder_n_heads: int = 8,
    map_heads: int = 24,
    num_learned_tokens: int = 4,
    action_latent_dim: int = 128,
    n_codes: int = 32,
) -> Shapes:
    """``model.safetensors`` but for the decoder, of which one tensor stands for all."""
    width, head = encoder_embed_dim, encoder_embed_dim // encoder_n_heads
    found: Shapes = {
        "encoder.embed.proj.weight": (width, 3, patch_size, patch_size),
        "encoder.embed.proj.bias": (width,),
        "encoder.pe_spatial": (1, (resolution // patch_size) ** 2, width),
        "encoder.pe_temporal": (1, d_t, width),
        "encoder.norm.g": (width,),
        "encoder.map_block.latents": (num_learned_tokens, width),
        "encoder.map_block.attn_norm.g": (width,),
        "encoder.map_block.mlp_norm.g": (width,),
        "vq.embedding.weight": (n_codes, action_latent_dim),
        "decoder.norm.g": (width,),
    }
    for i in range(encoder_depth):
        layer = f"encoder.layers.{i}"
        found[f"{layer}.scale_shift_table"] = (6, width)
        for attention in ("attn", "attn_temp"):
            found |= _linear(f"{layer}.{attention}.qkv", 3 * width, width)
            found |= _linear(f"{layer}.{attention}.proj", width, width)
            found |= _norm(f"{layer}.{attention}.q_norm", head) | _norm(f"{layer}.{attention}.k_norm", head)
        found |= _linear(f"{layer}.mlp.fc1", 4 * width, width) | _linear(f"{layer}.mlp.fc2", width, 4 * width)
    gather = "encoder.map_block"
    found |= _linear(f"{gather}.pre_projection", width, width) | _linear(f"{gather}.attn.kv", 2 * width, width)
    found |= _linear(f"{gather}.attn.q", width, width) | _linear(f"{gather}.attn.proj", width, width)
    found |= _linear(f"{gather}.mlp.0.project", 8 * width, width) | _linear(f"{gather}.mlp.1", width, 4 * width)
    return found | _linear(f"{gather}.final_proj.0", action_latent_dim, width)


def random_weights(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Weights under which every part of a model matters: small ones, and norms about one."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        near = 1.0 if "norm" in name and not name.endswith("bias") else 0.0
        found[name] = near + torch.randn(shape, generator=draw) * (0.1 if near else max(shape[-1], 1) ** -0.5)
        if name.endswith("freqs"):
            found[name] = 1 / 10000 ** (torch.arange(0, 2 * shape[0], 2).float() / (2 * shape[0]))
    return found


def write_adaworld(folder: Path, seed: int = 0) -> Path:
    """A folder with a ``lam.ckpt`` as Lightning writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        "epoch": 99,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": random_weights(adaworld_shapes(**TINY_ADAWORLD), seed),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        "hyper_parameters": {"lam_model_dim": 32, "beta": 0.0002},
    }
    torch.save(held, folder / "lam.ckpt")
    return folder


def write_villax(folder: Path, seed: int = 0) -> Path:
    """A folder as the repository on the Hub has it, its files in ``lam``."""
    inner = folder / "lam"
    inner.mkdir(parents=True, exist_ok=True)
    config = TINY_VILLAX | {"in_channels": 3, "augment_type": "resize_crop", "grid_size": 2, "use_xformers": None}
    about = {"architecture": "IgorModel", "description": "", "version": 0, "config": config}
    (inner / "model_config.json").write_text(json.dumps(about))
    save_file(random_weights(villax_shapes(**TINY_VILLAX), seed), inner / "model.safetensors")
    return folder

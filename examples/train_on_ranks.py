"""Fit one detector on several processes, each with its own rows.

torchrun --nproc-per-node 2 examples/train_on_ranks.py
"""

import os

import torch
import torch.distributed as dist

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy

if __name__ == "__main__":
    under_torchrun = dist.is_torchelastic_launched()
    if under_torchrun:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, size = (dist.get_rank(), dist.get_world_size()) if under_torchrun else (0, 1)
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else None

    # A rank reads its rows only; here all rows are at hand.
    shard = load_toy("two-moons", 2000, random_state=0)[rank::size]
    detector = LipOCC(
        novelty=True, network="dense", max_iter=100, device=device, random_state=0, verbose=1
    )
    detector.fit(shard)

    print(f"rank {rank}: {len(shard)} rows of {len(detector.decision_scores_)}")
    if rank == 0:
        detector.save("two-moons.safetensors")
    if under_torchrun:
        dist.destroy_process_group()

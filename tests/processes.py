"""Other processes that start in no time: forks of a server that has imported the package."""

from multiprocessing import get_context

FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["pyod_lipocc"])

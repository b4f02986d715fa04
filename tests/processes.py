"""Other processes that start in no time: forks of a server that has imported the package."""

from multiprocessing import get_all_start_methods, get_context

FORKED = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
if FORKED.get_start_method() == "forkserver":
    FORKED.set_forkserver_preload(["pyod_lipocc"])

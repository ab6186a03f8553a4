"""Fast code on arrays: matrix tiles, elementary functions, harmonic oscillators. Each has a slow twin and a test."""

import logging

from numba import njit


def _can_cache() -> bool:
    """Whether numba finds a folder that it can write: beside the code, NUMBA_CACHE_DIR or the user's own."""
    try:
        njit(cache=True)(lambda: 0)
        return True
    except RuntimeError:
        logging.getLogger(__name__).warning(
            "compiled code cannot be kept and is compiled at each start, which takes a minute: neither the package's "
            "folder nor the home can be written; NUMBA_CACHE_DIR names another folder"
        )
        return False


CACHE = _can_cache()

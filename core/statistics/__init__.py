"""Pure functions of arrays that give an estimate, its interval, n and the method. NaN = not scored.

Names are looked up when they are first used: scipy.stats takes a second to import, and a page that wants one Wilson
interval should not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.statistics.agreement import cronbach_alpha, fleiss_kappa
    from core.statistics.correlation import kendall, pearson, spearman
    from core.statistics.discrimination import auc, pairwise_accuracy
    from core.statistics.estimate import Estimate
    from core.statistics.few import RankTest, kendall_test, shared_ranks, spearman_test
    from core.statistics.permutation import leave_one_out, permutation_p
    from core.statistics.summary import clustered_share, median, psnr_of_mean_mse, wilson

__all__ = [
    "Estimate",
    "RankTest",
    "auc",
    "clustered_share",
    "cronbach_alpha",
    "fleiss_kappa",
    "kendall",
    "kendall_test",
    "leave_one_out",
    "median",
    "pairwise_accuracy",
    "pearson",
    "permutation_p",
    "psnr_of_mean_mse",
    "shared_ranks",
    "spearman",
    "spearman_test",
    "wilson",
]

_HOMES = {
    "agreement": ("cronbach_alpha", "fleiss_kappa"),
    "correlation": ("kendall", "pearson", "spearman"),
    "discrimination": ("auc", "pairwise_accuracy"),
    "estimate": ("Estimate",),
    "few": ("RankTest", "kendall_test", "shared_ranks", "spearman_test"),
    "permutation": ("leave_one_out", "permutation_p"),
    "summary": ("clustered_share", "median", "psnr_of_mean_mse", "wilson"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Pure functions of arrays that give an estimate, its interval, n and the method. NaN = not scored."""

from core.statistics.agreement import cronbach_alpha, fleiss_kappa
from core.statistics.correlation import kendall, pearson, spearman
from core.statistics.discrimination import auc, pairwise_accuracy
from core.statistics.estimate import Estimate
from core.statistics.permutation import leave_one_out, permutation_p
from core.statistics.summary import median, psnr_of_mean_mse, wilson

__all__ = [
    "Estimate",
    "auc",
    "cronbach_alpha",
    "fleiss_kappa",
    "kendall",
    "leave_one_out",
    "median",
    "pairwise_accuracy",
    "pearson",
    "permutation_p",
    "psnr_of_mean_mse",
    "spearman",
    "wilson",
]

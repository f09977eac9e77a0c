"""Everything that a human study says about its metrics, in the JSON shape of `python -m core correlate`."""

from dataclasses import replace
from typing import Any

import numpy as np

from core.errors import UserError
from core.statistics import correlation, discrimination, settings_level
from core.statistics.estimate import Estimate, Floats, json_number
from core.statistics.reference import human_reference, kappa
from core.statistics.resampling import bootstrap, draw, with_interval
from core.statistics.study import StudyData

MOST_RESAMPLES = 100_000
METHOD = (
    "Scores are turned so that higher means more leakage. Intervals are 95 % normal intervals with the standard error "
    "of a two-way bootstrap (originals and annotators drawn with replacement); those of the agreement and of the human "
    "reference draw originals only. No interval speaks of settings that were not studied: see p, leave_one_setting_out."
)


def correlate(study: StudyData, *, resamples: int = 500, seed: int = 0) -> dict[str, Any]:
    """Correlate every metric with people at three levels; the result is strict JSON (no NaN, infinities by name).

    resamples: 0 for no intervals, else at least 2. UserError if it is out of range.
    n counts reconstructions that somebody answered, unscored the missing scores among them over all metrics.
    """
    if not (resamples == 0 or 2 <= resamples <= MOST_RESAMPLES):
        raise UserError(f"The number of resamples must be 0 or from 2 to {MOST_RESAMPLES:,}, not {resamples}.")
    if seed < 0:
        raise UserError(f"The seed must be 0 or more, not {seed}.")
    study = _labelled(study)
    draws = draw(int(study.original.max()) + 1, study.recognised.shape[1], resamples, seed)
    resampled = bootstrap(study, draws) if resamples else {}
    levels = {metric: _metric_levels(study, metric, resampled.get(metric, {})) for metric in study.metrics}
    return {
        "n": len(study.recognised),
        "unscored": int(sum(np.isnan(v).sum() for v in study.metrics.values())),
        "image_level": {m: level[0] for m, level in levels.items()},
        "within_original": {m: level[1] for m, level in levels.items()},
        "setting_level": {m: level[2] for m, level in levels.items()},
        "agreement": {"fleiss_kappa": kappa(study, draws).to_dict()},
        "human_reference": human_reference(study, draws),
        "originals": len(np.unique(study.original)),
        "settings": len(study.setting_names),
        "annotators": study.recognised.shape[1],
        "recognisable": json_number(_share(study.recognisable)),
        "annotator_rates": [json_number(_share(column)) for column in study.recognised.T],
        "resamples": resamples,
        "seed": seed,
        "method": METHOD,
    }


def _labelled(study: StudyData) -> StudyData:
    """The rows that somebody answered, with settings and originals numbered anew."""
    keep = ~np.isnan(study.recognised).all(1)
    present, setting = np.unique(study.setting[keep], return_inverse=True)
    _, original = np.unique(study.original[keep], return_inverse=True)
    return StudyData(
        setting=setting,
        original=original,
        recognised=study.recognised[keep],
        metrics={name: values[keep] for name, values in study.metrics.items()},
        directions=study.directions,
        setting_names=tuple(study.setting_names[i] for i in present),
    )


def _metric_levels(
    study: StudyData, metric: str, resampled: dict[str, Floats]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    score, rate, recognisable = study.oriented(metric), study.rate, study.recognisable
    image = {
        "spearman": _leaf(correlation.spearman(score, rate), resampled.get("spearman")),
        "kendall": _leaf(correlation.kendall(score, rate), resampled.get("kendall")),
        "auc": _leaf(discrimination.auc(score, recognisable), resampled.get("auc"), (0.0, 1.0)),
    }
    pairs = discrimination.pairwise_accuracy(score, rate, study.original)
    within = {"pairwise_accuracy": _leaf(pairs, resampled.get("pairwise_accuracy"), (0.0, 1.0))}
    count, once = len(study.setting_names), np.ones((1, len(score)))
    means = settings_level.setting_means(score, study.setting, count, once)[0]
    shares = settings_level.setting_means(recognisable, study.setting, count, once)[0]
    rho, tau = settings_level.compare(means, shares)
    settings = {
        "spearman": _leaf(rho, resampled.get("setting_spearman")) | settings_level.caution(means, shares),
        "kendall": _leaf(tau, resampled.get("setting_kendall")),
    }
    return image, within, settings


def _leaf(point: Estimate, resampled: Floats | None, bounds: tuple[float, float] = (-1.0, 1.0)) -> dict[str, Any]:
    bare = replace(point, low=None, high=None)  # its analytic interval takes rows as independent
    return (bare if resampled is None else with_interval(bare, resampled, bounds)).to_dict()


def _share(values: Floats) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None

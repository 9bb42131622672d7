"""Estimate a `Gain` from the deviations of samples: rules that read off a boundary, and bootstrap intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semviz.common import checks
from semviz.common.bootstrap import bootstrap_means, interval
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import MetricFacts
from semviz.common.provenance import Source
from semviz.gains.gain import Gain
from semviz.gains.scaling_law import PEAK, SCALES, argmax_layer, fit_law, layer_gains, predict
from semviz.lm.parts import Parts

Samples = NDArray[np.float32]


def estimate_gain(
    samples: Samples,
    *,
    facts: MetricFacts,
    parts: Parts,
    kind: str,
    virtual: Samples | None = None,
    rule: str = "surplus",
    beta: float | None = None,
    seed: int = 0,
    source: Source | None = None,
    caution: str = "",
) -> Gain:
    """Estimate gains of layers and a boundary from the deviations of samples (SALF-style, our reading).

    Args:
        samples: Mean deviation of each sample in every space, shape (samples, L+1), in the metric's unit.
        facts: Title and unit of the metric, which must be loss-like.
        parts: Names and unique parameters of the model's parts.
        kind: Kind of the task: `"classification"` or `"language modelling"`.
        virtual: The samples' virtual deviation, shape (samples, L+1), for the rule `"virtual peak"`.
        rule: `"surplus"` (depth surplus, the boundary of least predicted deviation), `"law"` (largest gain), `"drop"`
            (largest plain drop) or `"virtual peak"`. The default is the rule that lost least against measured
            boundaries (tests/bench/README.md); it is cautious and freezes few blocks.
        beta: β of the law; fitted by default.
        seed: Seed of the bootstrap.
        source: Which model and task the deviations are of, where that is known.
        caution: A sentence where the metric is a poor picture of what the model says.

    Raises:
        SemvizError: If the rule is unknown or cannot be applied, or the model has one block.
    """
    rules = [*SCALES, *([PEAK] if virtual is not None else [])]
    if not isinstance(rule, str) or rule not in rules:
        raise SemvizError(f"rule={checks.short_repr(rule)} cannot be applied to this trace; pass one of {rules}.")
    if samples.shape[1] < 3:
        raise SemvizError("The model has one block, so there is no boundary to choose; pass a deeper model.")
    beta = None if beta is None else checks.number("beta", beta, "a finite number, or None to fit it")
    seed = checks.whole_number("seed", seed)

    deviation = samples.mean(0, dtype=np.float64)
    resampled = bootstrap_means(samples, seed=seed)
    law = fit_law(deviation, beta)
    gains = layer_gains(deviation, law.beta)
    scales = {name: scale(deviation, law.beta) for name, scale in SCALES.items()}
    resampled_scales = {name: scale(resampled, law.beta) for name, scale in SCALES.items()}
    if virtual is not None:
        scales[PEAK] = virtual.mean(0, dtype=np.float64)[1:]
        resampled_scales[PEAK] = bootstrap_means(virtual, seed=seed)[:, 1:]
    choices = argmax_layer(resampled_scales[rule])

    low, high = interval(resampled)
    gains_low, gains_high = interval(layer_gains(resampled, law.beta)[:, 1:])
    return Gain(
        facts=facts,
        rule=rule,
        deviation=deviation,
        deviation_low=low,
        deviation_high=high,
        gains=gains,
        gains_low=np.append(np.nan, gains_low),
        gains_high=np.append(np.nan, gains_high),
        law=law,
        predicted=predict(deviation, gains, law.beta),
        candidates={name: int(argmax_layer(values)) for name, values in scales.items()},
        scales={name: np.append(np.nan, values) for name, values in scales.items()},
        chosen_share=np.bincount(choices, minlength=len(deviation)) / len(resampled),
        kind=kind,
        parts=parts,
        source=source or Source(),
        caution=caution,
    )

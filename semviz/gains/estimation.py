"""From a trace to a `Gain`: the rules that read a boundary off a profile, with bootstrap intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semviz.common import checks
from semviz.common.bootstrap import bootstrap_means, interval
from semviz.common.errors import SemvizError
from semviz.gains.gain import Gain
from semviz.gains.scaling_law import PEAK, SCALES, argmax_layer, fit_law, layer_gains, predict
from semviz.lm.parts import Parts

if TYPE_CHECKING:
    from semviz.traces.trace import Trace


def estimate_gain(
    trace: Trace, metric: str | None = None, *, rule: str = "surplus", beta: float | None = None, seed: int = 0
) -> Gain:
    """Turn a trace's profile into gains of layers and a boundary (SALF-style, our reading).

    Args:
        trace: A trace with at least one loss-like metric.
        metric: Loss-like metric to read; the trace's first by default.
        rule: `"surplus"` (depth surplus, the boundary of least predicted deviation), `"law"` (largest gain), `"drop"`
            (largest plain drop) or `"virtual peak"`. The default is the rule that lost least against measured
            boundaries (tests/bench/README.md); it is cautious, and freezes little.
        beta: β of the law; fitted by default.
        seed: Seed of the bootstrap.

    Raises:
        SemvizError: If the metric was not traced or is not loss-like, or the rule is unknown or cannot be applied.
    """
    key = trace.check(metric)
    if not trace.facts[key].loss_like:
        able = [k for k in trace.values if trace.facts[k].loss_like]
        raise SemvizError(f"metric={key!r} does not fall towards 0 at the target; pass one of {able or 'the others'}.")
    rules = [*SCALES, *([PEAK] if "virtual" in trace.values else [])]
    if not isinstance(rule, str) or rule not in rules:
        raise SemvizError(f"rule={checks.shown(rule)} cannot be applied to this trace; pass one of {rules}.")
    if trace.n_blocks < 2:
        raise SemvizError("The model has one block, so there is no boundary to choose; pass a deeper model.")
    beta = None if beta is None else checks.number("beta", beta, "a finite number, or None to fit it")
    seed = checks.whole("seed", seed)

    samples = trace.sample_means(key).to_numpy(dtype=np.float32)
    deviation = samples.mean(0, dtype=np.float64)
    drawn = bootstrap_means(samples, seed=seed)
    law = fit_law(deviation, beta)
    gains = layer_gains(deviation, law.beta)
    scales = {name: scale(deviation, law.beta) for name, scale in SCALES.items()}
    drawn_scales = {name: scale(drawn, law.beta) for name, scale in SCALES.items()}
    if PEAK in rules:
        virtual = trace.sample_means("virtual").to_numpy(dtype=np.float32)
        scales[PEAK] = virtual.mean(0, dtype=np.float64)[1:]
        drawn_scales[PEAK] = bootstrap_means(virtual, seed=seed)[:, 1:]
    choices = argmax_layer(drawn_scales[rule])

    low, high = interval(drawn)
    gains_low, gains_high = interval(layer_gains(drawn, law.beta)[:, 1:])
    return Gain(
        facts=trace.facts[key],
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
        chosen_share=np.bincount(choices, minlength=len(deviation)) / len(drawn),
        kind=str(trace.meta.get("kind", "classification")),
        parts=Parts.from_record(trace.meta["parts"]),
    )

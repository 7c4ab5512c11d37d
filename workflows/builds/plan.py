"""What a build will cost: from another run's own numbers, or from its settings and a table.

Invariant: no model is asked, and nothing is written but the plan itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from storage.objects.opening import open_store
from storage.runs.plans import Figure, Plan, put_plan
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.growth import grows
from workflows.planning.bounds import bounds
from workflows.planning.costs import HOUR_S, MILLION, rates_of
from workflows.planning.hours import Places, wall_hours
from workflows.planning.measured import TEXTS, Measured, Name, measured
from workflows.planning.published import seconds_a_token, size_of
from workflows.planning.ranges import Range, product, resampled
from workflows.road import opened_by
from workflows.runs.configuration import Given
from workflows.runs.driving import most_workers
from workflows.runs.starting import differing, planned

SPEED = 1.5
"""Machines are this much faster or slower from run to run."""
MOST_FILLED = 8.0
"""An engine with so many times the requests at once makes at most so many times the tokens."""
STORED = (0.2, 4.0)
"""Bytes of a stored token: plain text has some 4, and what repeats is compressed."""
BESIDE_ROWS = 1.5
"""Most bytes of a store over those of its rows: commits, and the dataset, which repeats the last
stage's. The demo's has 1.34 times as many. Files of other sizes also compress that much better."""
DIFFERENCES = 5
"""Settings that differ from the source's, of those that are named."""

Ranges = dict[Name, Range]


def plan(
    config: BuildConfig,
    source: str | Run | None = None,
    *,
    gpu: str | None = None,
    keep: bool = True,
) -> Plan:
    """Plan a build; `source`: the run, finished or not, whose numbers it goes by.

    Without one the ranges are as wide as the settings allow, and hours follow from published
    throughputs of `gpu`. `keep`: store the plan, so that `status` compares it. Raises UserError and
    InfrastructureError.
    """
    store = open_store(config.store)
    given = config.read_input()
    config.check_input(given)
    problems = len(given.rows)
    if source is None:
        made = _by_settings(config, problems, gpu)
    else:
        run = source if isinstance(source, Run) else Run.open(store, source)
        made = _by_run(config, problems, run)
        made = replace(made, notes=(*made.notes, *_differing(config, given, run)))
    if keep:
        put_plan(store, made)
    return made


def _by_run(config: BuildConfig, problems: int, run: Run) -> Plan:
    parallel = config.cluster.parallel_shards
    source = measured(run, parallel)
    return by_measures(config, problems, source)


def by_measures(config: BuildConfig, problems: int, source: Measured) -> Plan:
    """Plan a build of so many problems by what others took."""
    drawn = resampled(source, problems)
    ranges = {
        name: drawn.range_of(lambda totals, name=name: totals[name])  # type: ignore[misc]
        for name, values in source.figures.items()
        if (name.role in config.engines or not name.role) and values.any()
    }
    size = Name("", "bytes")
    if size in ranges:
        shards = -(-problems // config.shard_size)
        ranges[size] = ranges[size].plus(shards * source.files_bytes)
    notes = [
        f"{role}: none of the measured problems reached it, so that nothing is known"
        for role in config.engines
        if Name(role, "tokens") not in ranges
    ]
    cluster = config.cluster
    at_once = min(problems, config.shard_size * cluster.parallel_shards)
    fuller = min(MOST_FILLED, max(1.0, at_once / source.at_once))
    apart = 1.0 if source.shares else float(cluster.parallel_shards)
    if fuller > 1.5:
        notes.append(
            f"run {source.run} had {source.at_once} problems at once and this one has {at_once}: "
            f"its engines are fuller, so hours may be up to {fuller:.1f} times fewer"
        )
    if not source.shares:
        notes.append(
            f"run {source.run} is of a version that kept no shares of time: hours are wide"
        )
    hours = {
        role: ranges.pop(Name(role, "engine_s"))
        .times(1 / HOUR_S)
        .wider(SPEED * fuller * apart, SPEED)
        for role in config.engines
        if Name(role, "engine_s") in ranges
    }
    said = f"run {source.run}, {source.problems:,} problems measured"
    return _plan(config, problems, said, source.problems, ranges, hours, notes)


def _by_settings(config: BuildConfig, problems: int, gpu: str | None) -> Plan:
    ranges = bounds(config.stages, problems)
    notes = ["no run to go by: ranges are what the settings allow; `--from RUN` narrows them"]
    hours: dict[str, Range] = {}
    for role, engine in config.engines.items():
        tokens = ranges.get(Name(role, "tokens"))
        if tokens is None or tokens.high is None:
            notes.append(f"{role}: its settings don't bound it; `--from RUN` measures it")
            continue
        if engine.served:
            continue
        if (size := size_of(engine)) is None:
            notes.append(f"{role}: the size of {engine.model} is not known, so its hours are not")
            continue
        seconds = product(tokens, seconds_a_token(gpu, size))
        hours[role] = seconds.times(1 / engine.tensor_parallel / HOUR_S)
    of_gpu = gpu or "any GPU of the table (--gpu names one)"
    if hours:
        notes.append(f"hours follow from published throughputs of {of_gpu}, half of them or all")
    written = [each for name, each in ranges.items() if name.what == "tokens"]
    ranges[Name("", "bytes")] = Range(
        STORED[0] * sum(each.low for each in written),
        STORED[1] * sum(each.high or 0.0 for each in written),
    )
    return _plan(config, problems, "settings and published figures", 0, ranges, hours, notes)


def _plan(
    config: BuildConfig,
    problems: int,
    source: str,
    measured: int,
    ranges: Ranges,
    hours: Mapping[str, Range],
    notes: Sequence[str],
) -> Plan:
    """Add hours, money and sums to the ranges, in the order of the road."""
    rates = rates_of(config.engines, config.prices)
    found: Ranges = {}
    for role in config.engines:
        for what in (TEXTS.get(role, "texts"), "tokens", "prompt_tokens"):
            if (known := ranges.get(Name(role, what))) is not None:
                found[Name(role, what)] = known
        if role in hours and rates[role].gpus:
            found[Name(role, "gpu_hours")] = hours[role].times(rates[role].gpus)
        if config.prices.given:
            found[Name(role, "money")] = _sum(_charged(role, found, config))
    for what in ("tokens", "gpu_hours", "money"):
        parts = [found[Name(r, what)] for r in config.engines if Name(r, what) in found]
        if parts:
            whole = _sum(parts)
            every = len(parts) == len(config.engines) or what == "gpu_hours"
            found[Name("", what)] = whole if every else replace(whole, high=None)
    for what, more in (("kept", 1.0), ("bytes", BESIDE_ROWS)):
        if Name("", what) in ranges:
            found[Name("", what)] = ranges[Name("", what)].wider(more, more)
    if hours:
        found[Name("", "hours")] = wall_hours(hours, rates, places(config))
    models = {role: engine.model for role, engine in config.engines.items()}
    figures = tuple(
        Figure(*name, _round(r.low), _some(r.high), _some(r.likely)) for name, r in found.items()
    )
    return Plan(
        config.run, problems, source, measured, figures, rates, config.prices.currency,
        (*notes, f"hours are on {places(config).slots:g} engine slots") if hours else tuple(notes),
        models,
    )  # fmt: skip


def places(config: BuildConfig) -> Places:
    """The slots that a configuration asks for: `cluster.engine_slots`, `cluster.ask`, or one."""
    asked = sum(n for kind, n in config.cluster.ask.items() if kind != "sandbox")
    opening: dict[str, str] = {
        role: own for own in reversed(config.worker_roles) for role in opened_by(config.road, own)
    }  # a model beside another's has no workers of its own
    workers = {role: most_workers(config, opening[role]) for role in config.engines}
    return Places(float(config.cluster.engine_slots or asked or 1), workers)


def _charged(role: str, found: Ranges, config: BuildConfig) -> Iterator[Range]:
    """The parts of a role's money."""
    rate = rates_of(config.engines, config.prices)[role]
    per = {
        "gpu_hours": rate.gpu_hour,
        "tokens": rate.tokens / MILLION,
        "prompt_tokens": rate.prompt_tokens / MILLION,
    }
    for what, price in per.items():
        if price:
            yield found.get(Name(role, what), Range(0.0, None)).times(price)


def _sum(parts: Sequence[Range] | Iterator[Range]) -> Range:
    """The sum of ranges, as wide as if all were high or low together."""
    low, high, likely = 0.0, 0.0, 0.0
    highs, likelies = True, True
    for part in parts:
        low += part.low
        high += part.high or 0.0
        likely += part.likely or 0.0
        highs, likelies = highs and part.high is not None, likelies and part.likely is not None
    return Range(low, high if highs else None, likely if likelies else None)


def _round(value: float) -> float:
    """Four figures; a range says no more."""
    return float(f"{value:.4g}")


def _some(value: float | None) -> float | None:
    return None if value is None else _round(value)


def _differing(config: BuildConfig, given: Given, run: Run) -> Iterator[str]:
    """Lines on what makes the source another run than the planned one."""
    if grows(run, given):
        before, now = run.spec.plan.items, len(given.rows)
        yield (
            f"{before:,} of the {now:,} problems are run {run.name}'s: `build --from {run.name}` "
            "takes them over, and pays for the rest alone"
        )
    spec = planned(config, run.spec.image_digest, given).spec
    fields = differing(run.spec, spec)
    of_models = [field for field in fields if field.name.startswith("models.")]
    for field in of_models:
        yield f"{field.name}: measured with {field.stored}, planned for {field.asked}"
    of_stages = [field for field in fields if field.name.startswith("configuration.stages.")]
    for field in of_stages[:DIFFERENCES]:
        setting = field.name.removeprefix("configuration.")
        yield f"{setting}: {field.stored} there, {field.asked} here"
    if len(of_stages) > DIFFERENCES:
        yield f"and {len(of_stages) - DIFFERENCES} more settings differ: its numbers are its own"

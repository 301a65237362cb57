"""A setting with its names resolved: which model to load, where prompts come from, and how the model is measured on them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, final

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.loading import load
from edgewise.loading.device_maps import DeviceMap
from edgewise.metrics import Metric
from edgewise.metrics import metric as find_metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track
from edgewise.runs.recipe import Setting
from edgewise.runs.source import Source, open_source


@final
@dataclass(frozen=True)
class ModelChoice:
    """A model that is not loaded yet; the fields are what `load` takes."""

    name: str
    dtype: str | None
    device: str | None
    device_map: DeviceMap | None
    kv: Literal["native", "ungrouped"]
    adapter: str | None

    def load(self, track: Track) -> Subject:
        """The model, loaded and checked."""
        told = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}
        return load(self.name, **told, track=track)


@final
@dataclass(frozen=True)
class ResolvedSetting:
    """What a Setting names, as values; `metric` is None where the one that goes with the prompts is meant."""

    model: ModelChoice
    source: Source
    metric: Metric | None
    ablation: Ablation
    batch_size: int

    def reported_metric(self, pairs: Pairs) -> str:
        """The name of the metric that was chosen, or of the one that goes with the prompts."""
        return self.metric.name if self.metric is not None else self.source.usual_metric(pairs)


def resolve(setting: Setting) -> ResolvedSetting:
    """What a setting names; UnknownName or FileError for what there is not, before a model is loaded."""
    model = ModelChoice(setting.model, setting.dtype, setting.device, setting.device_map, setting.kv, setting.adapter)
    metric = None if setting.metric is None else find_metric(setting.metric)
    ablation = find_ablation(setting.ablation)
    # Last, since its data may have to be fetched.
    return ResolvedSetting(model, open_source(setting), metric, ablation, setting.batch_size)

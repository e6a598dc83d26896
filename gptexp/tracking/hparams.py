"""TensorBoard's page of hyper-parameters: what a run says of itself, and a folder of its runs.

Torch-free.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from gptexp.config import flat
from gptexp.text import printable

NOT_SHOWN = ("name", "rerun", "logger")  # keys of the config that change no result

# Curves as columns, each with its last value, in this order; the page shows the first five.
METRICS = {
    "final/best_val_loss": "best validation loss",
    "final/best_step": "at step",
    "val/loss": "validation loss, last",
    "train/eval_loss": "training loss, last",
    "final/cliff_height": "height of the cliff",
    "final/test_loss": "test loss",
    "final/params": "parameters",
    "final/flops": "FLOPs",
    "final/seconds": "seconds",
}

MOST_BOXES = 9  # values to tick; for more, the page has a range, or a pattern of words


def session_start(config: dict[str, Any]) -> Summary:
    """The values of a run's config that can change a result, with dotted keys.

    A null is left out: as a word among numbers it would make TensorBoard's server fail. The trial
    has no name of its own, so it goes by that of the run, which is its path below the logdir.
    """
    shown = flat({key: config[key] for key in config if key not in NOT_SHOWN})
    return hparams_pb({k: _shown(v) for k, v in shown.items() if v is not None}, trial_id="")


def session_end(exit_code: int) -> Summary:
    """The end of a run; a page shows the first that it finds."""
    status = api_pb2.STATUS_SUCCESS if exit_code == 0 else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    return _summary(
        metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)
    )


def experiment(
    configs: Sequence[Mapping[str, Any]], names: Mapping[str, str], first: Iterable[str]
) -> Summary:
    """The columns of the page over runs with these flat configs: the keys of `names`, and METRICS.

    `names` are the headings. The page has the keys in `first` before the others, and both by the
    alphabet. A key whose values are words in one run and numbers in another cannot be sorted, and
    is left out.
    """
    columns = [_column(key, [config.get(key) for config in configs]) for key in names]
    infos = [column for column in columns if column is not None]
    for info in infos:
        info.display_name, info.differs = names[info.name], info.name in first
    metrics = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name)
        for tag, name in METRICS.items()
    ]
    page = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    return _summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=page))


def _column(key: str, values: Sequence[Any]) -> Any:
    """An HParamInfo with the values by which the page filters; None for values of several kinds."""
    present = sorted({_shown(value) for value in values if value is not None}, key=str)
    if all(isinstance(value, bool) for value in present):
        kind = api_pb2.DATA_TYPE_BOOL
    elif all(isinstance(value, str) for value in present):
        kind = api_pb2.DATA_TYPE_STRING
    elif all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        kind, present = api_pb2.DATA_TYPE_FLOAT64, sorted(present)
    else:
        return None
    info = api_pb2.HParamInfo(name=key, type=kind)
    if kind == api_pb2.DATA_TYPE_FLOAT64 and len(present) > MOST_BOXES:
        info.domain_interval.min_value, info.domain_interval.max_value = present[0], present[-1]
    else:
        info.domain_discrete.extend(present)
    return info


def _shown(value: Any) -> Any:
    """The value, but for what no UTF-8 holds, as a path may."""
    return printable(value) if isinstance(value, str) else value


def _summary(tag: str, data: Any) -> Summary:
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])

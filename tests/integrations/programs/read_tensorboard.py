"""Reads a log folder as TensorBoard does. Prints the values and steps of each tag of each run."""

import json
import sys

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.util.tensor_util import make_ndarray


def value_of(event):
    value = make_ndarray(event.tensor_proto)
    return value.item() if value.shape == () and value.dtype.kind == "f" else [one.decode() for one in value.ravel()]


runs = EventMultiplexer(size_guidance={"tensors": 0}).AddRunsFromDirectory(sys.argv[1])
runs.Reload()
told = {}
for run, kinds in runs.Runs().items():
    events = {tag: runs.Tensors(run, tag) for tag in kinds["tensors"]}
    plugins = {tag: runs.SummaryMetadata(run, tag).plugin_data.plugin_name for tag in events}
    told[run] = {tag: [plugins[tag], [[one.step, value_of(one)] for one in found]] for tag, found in events.items()}
print(json.dumps(told))

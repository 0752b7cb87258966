"""Reads the offline runs of a folder with the messages of wandb. Prints the settings, figures and summary of each run.

A run's file is a LevelDB log: after 7 bytes come blocks of 32,768 bytes with records (checksum, length, type, data).
"""

import json
import sys
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as messages

HEADER, BLOCK, FULL, FIRST, MIDDLE, LAST = 7, 32_768, 1, 2, 3, 4


def records_of(content):
    whole, at = b"", HEADER
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in {FULL, LAST}:
            record = messages.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def values_of(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


told = {}
for file in Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb"):
    found = {"history": [], "summary": {}}
    for record in records_of(file.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"name": record.run.display_name, "config": values_of(record.run.config.update)}
        elif kind == "history":
            found["history"].append(values_of(record.history.item))
        elif kind == "summary":
            found["summary"] |= values_of(record.summary.update)
    told[found["name"]] = found
print(json.dumps(told))

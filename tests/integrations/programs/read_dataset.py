"""Loads a data set with `datasets`, by the card alone, and prints what it holds.

read_dataset.py FOLDER GAME SPLIT
"""

import json
import sys

from datasets import get_dataset_config_names, load_dataset

folder, game, split = sys.argv[1:]
rows = load_dataset(folder, game, split=split)
print(
    json.dumps(
        {
            "configs": get_dataset_config_names(folder),
            "columns": rows.column_names,
            "episodes": rows["episode_id"][:],
            "trained_on": [
                [message["content"] for message, mask in zip(row["messages"], row["mask"], strict=True) if mask]
                for row in rows
            ],
        }
    )
)

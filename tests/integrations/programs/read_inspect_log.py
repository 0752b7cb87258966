"""Reads the logs of a folder with Inspect. Prints the agent, the mean score and the messages of each sample."""

import json
import sys

from inspect_ai.log import list_eval_logs, read_eval_log

told = []
for found in list_eval_logs(sys.argv[1]):
    log = read_eval_log(found)
    samples = [
        {
            "id": sample.id,
            "score": sample.scores["score"].value if sample.scores else None,
            "calls": [
                [call.function, call.arguments, message.text]
                for message in sample.messages
                if message.role == "assistant"
                for call in message.tool_calls
            ],
            "replies": [[one.text, one.error and one.error.message] for one in sample.messages if one.role == "tool"],
        }
        for sample in log.samples
    ]
    told.append({"agent": log.eval.model, "mean": log.results.scores[0].metrics["mean"].value, "samples": samples})
print(json.dumps(told))

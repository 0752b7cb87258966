"""A running server under load: ratios and counts, in one run on one machine.

    python benchmarks/sessions.py [--only a,b,c,d] [--json FILE]

- a: 500 open sessions of light calls: latency, throughput, memory a session (about 3 minutes);
- b: what pool, journal and wire add to `run_epochs(5)`, beside the engine alone (about 9 minutes);
- c: 16 sessions on one worker: whether each gets its turn (about 1 minute);
- d: a repeated episode, from the cache (about 2 minutes).

The server is this tree's, whichever is installed. Full data sets come from ML_TRAINER_DATA_DIR, else from
../shared/data if that is there. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from serving import added, fairness, light, repeated
from serving.figures import circumstances
from serving.processes import ROOT

PARTS = {"a": light, "b": added, "c": fairness, "d": repeated}
SHARED_DATA = ROOT.parent / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="which parts (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    data_dir = os.environ.get("ML_TRAINER_DATA_DIR") or (str(SHARED_DATA) if SHARED_DATA.is_dir() else "")
    where = circumstances()
    print(f"{where}\n", flush=True)
    figures: dict[str, object] = {"circumstances": where}
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory(prefix=f"sessions-{name}-") as folder:
            for result in PARTS[name].measure(Path(folder), data_dir):
                print("\n".join([f"#### {result.title}", "", *result.lines, ""]), flush=True)
                figures[result.title] = result.figures
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

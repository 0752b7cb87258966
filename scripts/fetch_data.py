"""Downloads the full MNIST, Fashion-MNIST and CIFAR-10 into a data directory, for servers to use.

    uv run scripts/fetch_data.py data

What is there already is left alone. A data set that cannot be had is named and passed over: tasks do without it, and
say so. Ends with 1 if one is missing.
"""

import argparse
import sys
from pathlib import Path

from ml_trainer_env.server.datasets import DatasetName, DataSettings, DownloadError, download


def main() -> int:
    """Download, and return the exit code."""
    parser = argparse.ArgumentParser(description="Download the full data sets.")
    parser.add_argument("data_dir", type=Path, help="the folder to put them into: ML_TRAINER_DATA_DIR of the server")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="for each (default: %(default)g)")
    arguments = parser.parse_args()
    settings = DataSettings(arguments.data_dir, download=True, download_timeout_s=arguments.timeout_s)
    missing = 0
    for dataset in DatasetName:
        try:
            print(f"{dataset}: {download(dataset, settings)}")
        except DownloadError as error:
            missing += 1
            print(f"{dataset}: {error}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

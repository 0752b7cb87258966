"""A model of a deployment: measure its constants, compare it with runs, and see what breaks first when it grows.

    python benchmarks/simulate.py constants     # measures them and writes benchmarks/simulation/constants.json
    python benchmarks/simulate.py compare       # predictions beside measurements on this machine
    python benchmarks/simulate.py outlook       # 8, 64 and 1,000 nodes, and 10,000 sessions; measures nothing

`constants` and `compare` need the extras [ray] and [postgresql] and PostgreSQL's programs. Servers, journals, transport
and states are real, and epochs only wait: so that several workers of a machine with two processors do not compete.
Nothing else should run meanwhile.
"""

import argparse
import os


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["constants", "compare", "outlook"])
    chosen = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    if chosen.what == "constants":
        from simulation.calibrate import calibrate  # late: the outlook needs no server

        constants = calibrate()
        constants.save()
        print(constants)
    elif chosen.what == "compare":
        from simulation.compare import compare

        compare()
    else:
        from simulation.outlook import print_outlook

        print_outlook()


if __name__ == "__main__":
    main()

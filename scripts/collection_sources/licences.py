"""The licences that lie beside the files: `LICENSE-*.txt`."""

from .packages import Packages


def write_licences(packages: Packages) -> dict[str, bytes]:
    """Returns the text of each licence, by its name in `bundled/`."""
    texts = {
        "LICENSE-river.txt": "segment.npz, phishing.npz, shuttle.npz and banana.npz: tables that come with\n"
        f"{packages.describe('river')}, whose licence follows. The data are of the UCI Machine Learning Repository\n"
        "(segment: Vision Group, University of Massachusetts, 1990; phishing: N. Abdelhamid, 2016; shuttle: Statlog,\n"
        "J. Catlett, NASA) and of G. Raetsch (banana), standardised here.\n\n"
        + packages.read("river", "river-0.26.1.dist-info/licenses/LICENSE").decode(),
    }
    return {name: text.encode() for name, text in texts.items()}

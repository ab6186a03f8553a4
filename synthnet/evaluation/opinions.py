"""The answers of a listening test: mean opinion scores, ABX, listeners to doubt, and RMSE-CQT beside the ears.

Mean opinion scores have half a 95% interval (Student's t over ratings), as in the paper's Table 5. It takes the ratings
as independent, though each listener gives many. Listeners are flagged, never left out unasked:

- who rates a hidden reference below 4 (ITU-R BS.1534-3, 4.1.2, asks for 90 of 100 there);
- whose ratings do not agree with the means of the others' (Spearman's rank correlation, one-sided, p >= 0.05), or with
  themselves, all being equal. Where models sound alike, that says little: give a test a reference and an anchor.

ABX is tested against chance by the exact binomial test, one-sided.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, pearsonr, spearmanr

from synthnet.evaluation.cqt import mean_and_ci95
from synthnet.evaluation.listening import ABX, ANCHOR, RATING, REFERENCE
from synthnet.files import InputError, parse_json

PAPER = {"WaveNet L26": (2.30, 0.10), "DeepVoice L26": (2.24, 0.11), "SynthNet L24": (4.36, 0.07)}  # Table 5, all
PAPER_CORRELATION = -0.78  # of RMSE-CQT and opinion, over the 21 pairs of a model and an instrument in its tables
LOWEST_REFERENCE = 4
CHANCE = 0.05  # at most this likely by chance: agreement between listeners
Place = tuple[str, str]  # model, instrument
ALL = "all"
FLOORS = ("rmse_cqt_db", "rmse_cqt_50_db")


@dataclass(frozen=True)
class Opinion:
    """Mean of ratings 1 to 5, half a 95% interval (None for one), number; RMSE-CQT of the sounds at both floors."""

    mos: float
    ci95: float | None
    ratings: int
    rmse_cqt_db: float | None
    rmse_cqt_50_db: float | None


@dataclass(frozen=True)
class Identified:
    """ABX: right answers of all, share with the exact 95% interval (Clopper-Pearson), p against chance."""

    right: int
    trials: int
    share: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of RMSE-CQT, at both floors, and opinion over pairs of model and instrument; None if undefined."""

    pairs: int
    r: float | None
    p: float | None
    r_50: float | None
    p_50: float | None


@dataclass(frozen=True)
class Listening:
    """The results of a test.

    Attributes:
        opinions, identified: by model and instrument, "all" for all instruments; one of the two is empty.
        correlations: over all pairs ("all"), and within each model.
        flags: why a listener is to be doubted, by listener.
    """

    kind: str
    listeners: int
    opinions: Mapping[Place, Opinion]
    identified: Mapping[Place, Identified]
    correlations: Mapping[str, Correlation]
    flags: Mapping[str, Sequence[str]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        nested: dict[str, dict[str, dict[str, Any]]] = {"opinions": {}, "identified": {}}
        for name, by_model in nested.items():
            for (model, instrument), one in getattr(self, name).items():
                by_model.setdefault(model, {})[instrument] = asdict(one)
        correlations = {name: asdict(one) for name, one in self.correlations.items()}
        paper = {"opinions": {name: {"mos": m, "ci95": w} for name, (m, w) in PAPER.items()}, "r": PAPER_CORRELATION}
        about = {"kind": self.kind, "listeners": self.listeners, "flags": self.flags}
        return {**about, **nested, "correlations": correlations, "paper": paper}


@dataclass(frozen=True)
class Answers:
    """What one listener answered: ratings by id of the sound, or whether X was known by id of the trial."""

    listener: str
    ratings: Mapping[str, int]
    right: Mapping[str, bool]


def read_key(path: Path) -> dict[str, Any]:
    """The key that a build wrote; InputError for anything else."""
    key = _read(path)
    try:
        if key["kind"] not in (RATING, ABX) or not key["trials"]:
            raise ValueError
        for trial in key["trials"].values():
            asked = trial["samples"] if key["kind"] == RATING else [trial["b"], *trial["x"]]
            models = [trial["sounds"][one]["model"] for one in asked]
            if not all(isinstance(name, str) for name in (trial["instrument"], *models)):
                raise ValueError
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{path}: not the key of a listening test") from None
    return key


def read_answers(path: Path, key: Mapping[str, Any]) -> Answers:
    """A listener's answers; InputError where they are incomplete, impossible or of another test."""
    given = _read(path)
    try:
        if given["test"] != key["test"] or given["kind"] != key["kind"]:
            raise InputError(f"{path}: answers to another test than that of the key")
        by_trial = {str(one["trial"]): one for one in given["answers"]}
        if set(by_trial) != set(key["trials"]) or len(by_trial) < len(given["answers"]):
            raise InputError(f"{path}: {len(by_trial)} pages are answered, not each of the {len(key['trials'])} once")
        ratings, right = dict[str, int](), dict[str, bool]()
        for name, trial in key["trials"].items():
            one = by_trial[name]
            if key["kind"] == ABX:
                if one["answer"] not in ("a", "b") or one["x"] not in trial["x"]:
                    raise ValueError
                is_reference = trial["sounds"][one["x"]]["model"] == REFERENCE
                right[name] = (one["answer"] == "a") == is_reference
            else:
                if set(one["ratings"]) != set(trial["samples"]):
                    raise ValueError
                ratings |= one["ratings"]
        if not all(type(rating) is int and 1 <= rating <= 5 for rating in ratings.values()):
            raise ValueError
        return Answers(str(given["listener"]), ratings, right)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{path}: not the answers to a listening test, or damaged") from None


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except ValueError:
        raise InputError(f"{path}: not JSON") from None


def results(key: Mapping[str, Any], answers: Sequence[Answers], without_flagged: bool = False) -> Listening:
    """All figures of the answers to a test; InputError if there are none, or none without those flagged."""
    flags = flagged(key, answers)
    kept = [one for one in answers if not (without_flagged and one.listener in flags)]
    if not kept:
        raise InputError("no answers" + (" of a listener without a flag" if answers else ""))
    if key["kind"] == ABX:
        return Listening(ABX, len(kept), {}, _identified(key, kept), {}, flags)
    opinions = _opinions(key, kept)
    return Listening(RATING, len(kept), opinions, {}, _correlations(opinions), flags)


def _opinions(key: Mapping[str, Any], answers: Sequence[Answers]) -> dict[Place, Opinion]:
    distances, ratings = defaultdict[Place, list[Sequence[float]]](list), defaultdict[Place, list[int]](list)
    for trial in key["trials"].values():
        for sample in trial["samples"]:
            about = trial["sounds"][sample]
            for place in ((about["model"], trial["instrument"]), (about["model"], ALL)):
                ratings[place] += [one.ratings[sample] for one in answers]
                if set(FLOORS) <= set(about):
                    distances[place].append([about[floor] for floor in FLOORS])
    found = {}
    for place, given in sorted(ratings.items(), key=lambda item: (item[0][0] in (REFERENCE, ANCHOR), item[0][0])):
        mos, ci95 = mean_and_ci95(given)
        figures = np.mean(distances[place], axis=0).tolist() if distances[place] else (None, None)
        found[place] = Opinion(mos, None if math.isnan(ci95) else ci95, len(given), *figures)
    return found


def _identified(key: Mapping[str, Any], answers: Sequence[Answers]) -> dict[Place, Identified]:
    right = defaultdict[Place, list[bool]](list)
    for name, trial in key["trials"].items():
        model = trial["sounds"][trial["b"]]["model"]
        for instrument in (trial["instrument"], ALL):
            right[model, instrument] += [one.right[name] for one in answers]
    found = {}
    for place, of_place in right.items():
        test = binomtest(sum(of_place), len(of_place), 0.5, alternative="greater")
        low, high = binomtest(sum(of_place), len(of_place)).proportion_ci(0.95, "exact")
        found[place] = Identified(test.k, test.n, test.statistic, float(low), float(high), float(test.pvalue))
    return found


def _correlations(opinions: Mapping[Place, Opinion]) -> dict[str, Correlation]:
    groups: dict[str, list[Opinion]] = {ALL: []}
    for (model, instrument), one in opinions.items():
        if instrument != ALL and one.rmse_cqt_db is not None:
            for name in (ALL, model):
                groups.setdefault(name, []).append(one)
    return {
        name: Correlation(len(of), *_r_and_p(of, FLOORS[0]), *_r_and_p(of, FLOORS[1])) for name, of in groups.items()
    }


def _r_and_p(opinions: Sequence[Opinion], floor: str) -> tuple[float | None, float | None]:
    distances, scores = [getattr(one, floor) for one in opinions], [one.mos for one in opinions]
    if len(scores) < 3 or np.ptp(distances) == 0 or np.ptp(scores) == 0:
        return None, None
    found = pearsonr(distances, scores)
    return float(found.statistic), float(found.pvalue)


def flagged(key: Mapping[str, Any], answers: Sequence[Answers]) -> dict[str, list[str]]:
    """Why a listener's ratings are to be doubted, by listener; see the module's docstring."""
    flags = dict[str, list[str]]()
    if key["kind"] == ABX:
        return flags
    trials = key["trials"].values()
    hidden = [s for trial in trials for s in trial["samples"] if trial["sounds"][s]["model"] == REFERENCE]
    everything = [sample for trial in trials for sample in trial["samples"]]
    table = np.array([[one.ratings[sample] for sample in everything] for one in answers], float)
    for number, one in enumerate(answers):
        why = []
        if low := sum(one.ratings[sample] < LOWEST_REFERENCE for sample in hidden):
            why.append(f"rated the hidden reference below {LOWEST_REFERENCE} on {low} of {len(hidden)} pages")
        mine, others = table[number], np.delete(table, number, 0)
        if len(everything) > 2 and np.ptp(mine) == 0:
            why.append(f"gave every sample a {mine[0]:.0f}")
        elif len(others) and len(everything) > 2 and np.ptp(mean := others.mean(0)) > 0:
            agreement = spearmanr(mine, mean, alternative="greater")
            if not agreement.pvalue < CHANCE:
                why.append(f"ratings unlike the others' (rank correlation {agreement.statistic:+.2f})")
        if why:
            flags[one.listener] = why
    return flags


def find_key(answers: Sequence[Path]) -> Path:
    """key.json beside the first file of answers or in the folder above; InputError if it is in neither."""
    if not answers[0].is_file():
        raise InputError(f"{answers[0]}: no such file")
    for folder in answers[0].resolve().parents[:2]:
        if (folder / "key.json").is_file():
            return folder / "key.json"
    raise InputError(f"{answers[0]}: no key.json beside it or in the folder above (--key names the key)")


def read_all(paths: Sequence[Path], key: Mapping[str, Any]) -> tuple[list[Answers], list[str]]:
    """The answers in all files, one of each listener, and a line for each file that repeats a listener's."""
    found, remarks = dict[str, Answers](), []
    for path in paths:
        answers = read_answers(path, key)
        if answers.listener in found:
            remarks.append(f"{path}: answers of a listener who is among the others; left out")
        found.setdefault(answers.listener, answers)
    return list(found.values()), remarks
